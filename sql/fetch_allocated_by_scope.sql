-- Allocated cost of a period by every scope that a budget may have: one row for each value of each kind of
-- scope, and one of the kind total. Usage apart, since only usage grows with the days of a month.
SELECT
    CASE
        WHEN GROUPING(tenant_id) = 0 THEN 'tenant'
        WHEN GROUPING(plan_id) = 0 THEN 'plan'
        WHEN GROUPING(service) = 0 THEN 'service'
        WHEN GROUPING(service_component) = 0 THEN 'component'
        ELSE 'total'
    END AS scope_type,
    COALESCE(tenant_id, plan_id, service, service_component) AS scope_value,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd,
    SUM(CASE WHEN charge_class = 'usage' THEN allocated_cost_usd ELSE 0 END) AS usage_unblended_usd,
    SUM(CASE WHEN charge_class = 'usage' THEN allocated_amortized_cost_usd ELSE 0 END)
        AS usage_amortized_usd,
    SUM(CASE WHEN charge_class = 'usage' THEN allocated_net_amortized_cost_usd ELSE 0 END)
        AS usage_net_amortized_usd
FROM fact_cost_allocated
WHERE period_start = :period_start
GROUP BY GROUPING SETS ((), (tenant_id), (plan_id), (service), (service_component))
HAVING COUNT(*) > 0
