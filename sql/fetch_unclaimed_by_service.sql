-- Cost that no rule claimed, whose key failed, or whose tenant tag names nobody, per service and charge class
-- (design rule 5.8).
SELECT
    service,
    charge_class,
    SUM(allocated_cost_usd) AS unclaimed_usd
FROM fact_cost_allocated
WHERE
    period_start = :period_start
    AND tenant_id = '__unallocated__'
    AND (rule_id IS NULL OR key_total = 0 OR rule_id = '__unknown_tenant__')
GROUP BY 1, 2
ORDER BY 1, 2
