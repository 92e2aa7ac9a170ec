-- Today's truth per tenant and plan, by how it came and what it is: sums over all entries of the period,
-- reversals included.
SELECT
    tenant_id,
    plan_id,
    allocation_method,
    charge_class,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM fact_cost_allocated
WHERE period_start = :period_start
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
