-- The tagged month in one row: the totals that tagging must preserve, and the figures of coverage
-- (design rule 5.7). Untaggable services leave the denominator before this statement sees them.
SELECT
    COUNT(*) AS group_count,
    COALESCE(CAST(SUM(line_count) AS BIGINT), 0) AS line_count,
    COALESCE(SUM(unblended_cost), 0) AS unblended_usd,
    COALESCE(SUM(amortized_cost), 0) AS amortized_usd,
    COALESCE(SUM(net_unblended_cost), 0) AS net_unblended_usd,
    COALESCE(SUM(net_amortized_cost), 0) AS net_amortized_usd,
    COALESCE(SUM(true_up_cost), 0) AS true_up_usd,
    COALESCE(SUM(upfront_cost), 0) AS upfront_usd,
    COALESCE(SUM(net_true_up_cost), 0) AS net_true_up_usd,
    COALESCE(SUM(net_upfront_cost), 0) AS net_upfront_usd
FROM fact_cost_tagged
WHERE period_start = :period_start
