-- What was booked in a month about closed ones, per tenant and plan.
SELECT
    tenant_id,
    plan_id,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM fact_cost_adjustment
WHERE period_start = :period_start
GROUP BY 1, 2
ORDER BY 1, 2
