-- One booking in one row.
SELECT
    COUNT(*) AS entry_count,
    COALESCE(SUM(allocated_cost_usd), 0) AS unblended_usd,
    COALESCE(SUM(allocated_amortized_cost_usd), 0) AS amortized_usd,
    COALESCE(SUM(allocated_net_amortized_cost_usd), 0) AS net_amortized_usd
FROM fact_cost_adjustment
WHERE run_id = :run_id
