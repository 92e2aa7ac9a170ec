-- Entries of one run in one row. What no rule claimed, or whose key failed (its total is 0), is a fault;
-- what a hold rule parks is not.
SELECT
    COUNT(*) AS entry_count,
    COALESCE(SUM(allocated_cost_usd), 0) AS net_usd,
    COALESCE(SUM(CASE WHEN entry_type = 'allocation' THEN allocated_cost_usd ELSE 0 END), 0) AS allocated_usd,
    COALESCE(SUM(CASE WHEN entry_type = 'reversal' THEN allocated_cost_usd ELSE 0 END), 0) AS reversed_usd,
    COALESCE(SUM(CASE
        WHEN entry_type = 'allocation' AND tenant_id = '__unallocated__' THEN allocated_cost_usd ELSE 0
    END), 0) AS unallocated_usd
FROM fact_cost_allocated
WHERE period_start = :period_start AND run_id = :run_id
