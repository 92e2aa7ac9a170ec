-- Delivered tenant tags that name no tenant, by money: typos and tenants nobody registered.
SELECT
    tenant_tag,
    CAST(SUM(line_count) AS BIGINT) AS line_count,
    SUM(unblended_cost) AS unblended_usd
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_tag IS NOT NULL
GROUP BY 1
ORDER BY 3 DESC, 1
