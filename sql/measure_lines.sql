-- A delivery's lines through the lens: what each kept file adds to the lines that are booked (is_aside false)
-- and to those that stand aside, by service and charge class. Lines that are alike are one row
-- (lake/alike.py).
SELECT
    file_name,
    quarantine_code IS NOT NULL AS is_aside,
    product_servicecode AS service,
    charge_class,
    CAST(SUM(line_count) AS BIGINT) AS row_count,
    COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd,
    COALESCE(SUM(amortized_cost), 0) AS amortized_usd,
    COALESCE(SUM(net_unblended_cost), 0) AS net_unblended_usd,
    COALESCE(SUM(net_amortized_cost), 0) AS net_amortized_usd,
    COALESCE(SUM(true_up_cost), 0) AS true_up_usd,
    COALESCE(SUM(upfront_cost), 0) AS upfront_usd,
    COALESCE(SUM(net_true_up_cost), 0) AS net_true_up_usd,
    COALESCE(SUM(net_upfront_cost), 0) AS net_upfront_usd,
    COALESCE(SUM(ABS(line_item_unblended_cost)), 0) AS absolute_usd
FROM measured_lines
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
