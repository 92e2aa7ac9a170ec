-- What was booked in a month about closed ones, per tenant, plan, service and the month that it is about.
SELECT
    tenant_id,
    plan_id,
    service,
    usage_period_start,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM fact_cost_adjustment
WHERE period_start = :period_start
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
