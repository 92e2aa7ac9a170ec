-- Allocated cost of a period by every scope that a budget may have; usage apart, since only usage grows
-- with the days of a month.
SELECT
    tenant_id,
    plan_id,
    service,
    service_component,
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
GROUP BY 1, 2, 3, 4
