-- Delivered tenant tags that name no tenant, by money: typos and tenants nobody registered. What an account
-- mapping or the resource's other lines gave to a tenant all the same is not in the pooled figures.
SELECT
    tenant_tag,
    CAST(SUM(line_count) AS BIGINT) AS line_count,
    SUM(unblended_cost) AS unblended_usd,
    SUM(CASE WHEN tenant_id IS NULL THEN unblended_cost ELSE 0 END) AS pooled_unblended_usd,
    SUM(CASE WHEN tenant_id IS NULL THEN amortized_cost ELSE 0 END) AS pooled_amortized_usd,
    SUM(CASE WHEN tenant_id IS NULL THEN net_amortized_cost ELSE 0 END) AS pooled_net_amortized_usd
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_tag IS NOT NULL
GROUP BY 1
ORDER BY 3 DESC, 1
