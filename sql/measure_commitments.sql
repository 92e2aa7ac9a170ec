-- Reservations and savings plans of a period by source: whether their fee and their usage are there, and what
-- is left of their lines between the cost views (unblended − amortized − true-up − upfront, and net).
SELECT
    source_id,
    COALESCE(NULLIF(savings_plan_savings_plan_a_r_n, ''), reservation_reservation_a_r_n) AS commitment,
    COUNT_IF(commitment_line IN ('SavingsPlanRecurringFee', 'RIFee')) > 0 AS has_fee,
    COUNT_IF(commitment_line IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')) > 0 AS has_usage,
    SUM(line_item_unblended_cost - amortized_cost - true_up_cost - upfront_cost) AS residual_usd,
    SUM(net_unblended_cost - net_amortized_cost - net_true_up_cost - net_upfront_cost) AS net_residual_usd
FROM measured_lines
WHERE
    quarantine_code IS NULL
    AND commitment_line IS NOT NULL
    AND COALESCE(NULLIF(savings_plan_savings_plan_a_r_n, ''), reservation_reservation_a_r_n) <> ''
GROUP BY 1, 2
HAVING
    ABS(SUM(line_item_unblended_cost - amortized_cost - true_up_cost - upfront_cost)) > 0.01
    OR ABS(SUM(net_unblended_cost - net_amortized_cost - net_true_up_cost - net_upfront_cost)) > 0.01
ORDER BY 1, 2
