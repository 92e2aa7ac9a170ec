-- Cost held in __unallocated__ because its tenant tag names nobody, by tag: what comes back when the tenant
-- or an alias is loaded.
SELECT
    key_name,
    SUM(allocated_cost_usd) AS held_usd
FROM fact_cost_allocated
WHERE period_start = :period_start AND rule_id = '__unknown_tenant__'
GROUP BY 1
HAVING SUM(allocated_cost_usd) <> 0
ORDER BY 2 DESC, 1
