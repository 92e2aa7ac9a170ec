-- Direct cost of each tenant by service: the key of proportional_cost rules.
SELECT
    service,
    tenant_id,
    SUM(unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_id NOT IN ('__operator__', '__unallocated__')
GROUP BY 1, 2
ORDER BY 1, 2
