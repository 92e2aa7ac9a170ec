-- The first rows of missing_tenant_tags of a period, and what they all come to.
SELECT
    fix_rank,
    service,
    service_component,
    usage_account_id,
    resource_id,
    tenant_tag,
    line_count,
    missing_usd,
    SUM(missing_usd) OVER () AS total_usd,
    COUNT(*) OVER () AS places
FROM missing_tenant_tags
WHERE period_start = :period_start
ORDER BY missing_usd DESC, service, service_component, usage_account_id, resource_id
LIMIT 20
