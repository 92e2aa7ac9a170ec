-- The commitments that the month's fees name, as far as the bill says what they are.
SELECT
    CASE
        WHEN savings_plan_savings_plan_a_r_n <> '' THEN savings_plan_savings_plan_a_r_n
        ELSE reservation_reservation_a_r_n
    END AS arn,
    MAX(CASE WHEN savings_plan_savings_plan_a_r_n <> '' THEN 1 ELSE 0 END) AS is_plan,
    MIN(NULLIF(COALESCE(savings_plan_start_time, reservation_start_time), '')) AS begins,
    MAX(NULLIF(COALESCE(savings_plan_end_time, reservation_end_time), '')) AS ends,
    MIN(NULLIF(savings_plan_offering_type, '')) AS offering,
    MIN(NULLIF(COALESCE(savings_plan_payment_option, pricing_purchase_option), '')) AS payment,
    MIN(NULLIF(COALESCE(savings_plan_purchase_term, pricing_lease_contract_length), '')) AS term
FROM owned_lines
WHERE
    line_item_line_item_type IN ('RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee', 'Fee')
    AND (savings_plan_savings_plan_a_r_n <> '' OR reservation_reservation_a_r_n <> '')
GROUP BY 1
ORDER BY 1
