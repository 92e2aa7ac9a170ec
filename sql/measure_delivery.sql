-- What a delivery holds, in one scan, before anything is staged: rows, exact cost, and every reason
-- to refuse it. Only the columns that a cost view needs can refuse a delivery.
SELECT
    COUNT(*) AS row_count,
    COALESCE(SUM(EXACT_USD(line_item_unblended_cost)), 0) AS cost_usd,
    COUNT_IF(line_item_unblended_cost IS NULL) AS null_cost_rows,
    COUNT_IF(
        NOT IS_FINITE(line_item_unblended_cost)
        OR NOT IS_FINITE(line_item_net_unblended_cost)
        OR NOT IS_FINITE(reservation_effective_cost)
        OR NOT IS_FINITE(reservation_net_effective_cost)
        OR NOT IS_FINITE(reservation_amortized_upfront_fee_for_billing_period)
        OR NOT IS_FINITE(reservation_net_amortized_upfront_fee_for_billing_period)
        OR NOT IS_FINITE(reservation_unused_amortized_upfront_fee_for_billing_period)
        OR NOT IS_FINITE(reservation_net_unused_amortized_upfront_fee_for_billing_period)
        OR NOT IS_FINITE(reservation_unused_recurring_fee)
        OR NOT IS_FINITE(reservation_net_unused_recurring_fee)
        OR NOT IS_FINITE(savings_plan_total_commitment_to_date)
        OR NOT IS_FINITE(savings_plan_used_commitment)
        OR NOT IS_FINITE(savings_plan_savings_plan_effective_cost)
        OR NOT IS_FINITE(savings_plan_net_savings_plan_effective_cost)
        OR NOT IS_FINITE(savings_plan_amortized_upfront_commitment_for_billing_period)
        OR NOT IS_FINITE(savings_plan_net_amortized_upfront_commitment_for_billing_period)
    ) AS not_finite_rows,
    COUNT_IF(
        NOT IS_EXACT_USD(line_item_unblended_cost)
        OR NOT IS_EXACT_USD(line_item_net_unblended_cost)
        OR NOT IS_EXACT_USD(reservation_effective_cost)
        OR NOT IS_EXACT_USD(reservation_net_effective_cost)
        OR NOT IS_EXACT_USD(reservation_amortized_upfront_fee_for_billing_period)
        OR NOT IS_EXACT_USD(reservation_net_amortized_upfront_fee_for_billing_period)
        OR NOT IS_EXACT_USD(reservation_unused_amortized_upfront_fee_for_billing_period)
        OR NOT IS_EXACT_USD(reservation_net_unused_amortized_upfront_fee_for_billing_period)
        OR NOT IS_EXACT_USD(reservation_unused_recurring_fee)
        OR NOT IS_EXACT_USD(reservation_net_unused_recurring_fee)
        OR NOT IS_EXACT_USD(savings_plan_total_commitment_to_date)
        OR NOT IS_EXACT_USD(savings_plan_used_commitment)
        OR NOT IS_EXACT_USD(savings_plan_savings_plan_effective_cost)
        OR NOT IS_EXACT_USD(savings_plan_net_savings_plan_effective_cost)
        OR NOT IS_EXACT_USD(savings_plan_amortized_upfront_commitment_for_billing_period)
        OR NOT IS_EXACT_USD(savings_plan_net_amortized_upfront_commitment_for_billing_period)
    ) AS not_exact_rows,
    COUNT_IF(COALESCE(line_item_currency_code, '') <> 'USD') AS other_currency_rows,
    MIN(
        CASE
            WHEN COALESCE(line_item_currency_code, '') <> 'USD' THEN COALESCE(line_item_currency_code, '')
        END
    )
        AS other_currency,
    COUNT_IF(
        bill_billing_period_start_date IS NULL
        OR CAST(bill_billing_period_start_date AS DATE) <> CAST(:period_start AS DATE)
    ) AS other_period_rows,
    COUNT_IF(
        COALESCE(bill_bill_type, 'Anniversary') = 'Anniversary'
        AND COALESCE(bill_billing_entity, 'AWS') <> ''
        AND COALESCE(bill_invoice_id, '') = ''
    ) AS rows_without_invoice,
    MAX(CASE WHEN line_item_line_item_type = 'Usage' THEN line_item_usage_start_date END) AS newest_usage
FROM delivered_lines
