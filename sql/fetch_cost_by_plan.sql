-- Cost by tenant and plan with the plan tag that named no plan: what a wrong plan tag is worth.
SELECT
    tenant_id,
    plan_id,
    plan_tag,
    SUM(unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE period_start = :period_start
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
