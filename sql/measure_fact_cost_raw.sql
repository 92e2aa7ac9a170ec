-- The staged month, re-read: what the verdicts compare with the delivery.
SELECT
    COUNT(*) AS row_count,
    COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd,
    COALESCE(SUM(amortized_cost), 0) AS amortized_usd,
    COALESCE(SUM(net_unblended_cost), 0) AS net_unblended_usd,
    COALESCE(SUM(net_amortized_cost), 0) AS net_amortized_usd,
    COALESCE(SUM(true_up_cost), 0) AS true_up_usd,
    COALESCE(SUM(upfront_cost), 0) AS upfront_usd,
    -- of months that were published before there were such columns, the gross ones
    COALESCE(SUM(COALESCE(net_true_up_cost, true_up_cost)), 0) AS net_true_up_usd,
    COALESCE(SUM(COALESCE(net_upfront_cost, upfront_cost)), 0) AS net_upfront_usd,
    COALESCE(SUM(ABS(line_item_unblended_cost)), 0) AS absolute_usd
FROM fact_cost_raw
WHERE period_start = :period_start
