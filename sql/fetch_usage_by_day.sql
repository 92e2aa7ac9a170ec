-- Usage cost of each day of a period, the oldest first, with what negations take back of it: what a forecast
-- carries on. Fees, tax, credits and refunds come once a month and are left out.
SELECT
    CAST(line_item_usage_start_date AS DATE) AS usage_day,
    SUM(line_item_unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
FROM alike_lines
WHERE
    period_start = :period_start
    AND line_item_line_item_type IN (
        'Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation'
    )
    AND line_item_usage_start_date >= CAST(:period_start AS DATE)
    AND line_item_usage_start_date < CAST(:period_end AS DATE)
GROUP BY 1
ORDER BY 1
