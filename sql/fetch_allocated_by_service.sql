-- Today's truth per tenant, plan and service, by how it came; what of it commitments left unused stands
-- beside, at the amortised views: a fee's amortised cost is the part of it that nothing used.
SELECT
    tenant_id,
    plan_id,
    service,
    allocation_method,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd,
    SUM(CASE WHEN charge_class = 'commitment_fee' THEN allocated_amortized_cost_usd ELSE 0 END) AS unused_usd,
    SUM(
        CASE WHEN charge_class = 'commitment_fee' THEN allocated_net_amortized_cost_usd ELSE 0 END
    ) AS net_unused_usd
FROM fact_cost_allocated
WHERE period_start = :period_start
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
