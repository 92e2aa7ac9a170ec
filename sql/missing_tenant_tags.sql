-- missing_tenant_tags: where a tenant tag is missing or names nobody, by the money it keeps from its tenant.
-- Positive usage, as coverage counts it, before anything is inherited or mapped: the largest is fixed first.
SELECT
    l.period_start,
    l.product_servicecode AS service,
    l.component_tag AS service_component,
    l.line_item_usage_account_id AS usage_account_id,
    NULLIF(l.line_item_resource_id, '') AS resource_id,
    COALESCE(l.resource_tenant, l.account_tenant) AS tenant_tag,
    CAST(SUM(l.line_count) AS BIGINT) AS line_count,
    SUM(l.line_item_unblended_cost) AS missing_usd,
    CAST(
        RANK() OVER (PARTITION BY l.period_start ORDER BY SUM(l.line_item_unblended_cost) DESC) AS BIGINT
    ) AS fix_rank
FROM missing_cost_lines AS l
WHERE
    l.charge_class = 'usage'
    AND l.line_item_unblended_cost > 0
    AND (
        COALESCE(l.resource_tenant, l.account_tenant) IS NULL
        OR (l.period_start, NFC(COALESCE(l.resource_tenant, l.account_tenant))) IN (
            SELECT
                u.period_start,
                u.tenant_tag
            FROM fact_cost_tagged AS u
            WHERE u.tenant_tag IS NOT NULL
        )
    )
GROUP BY 1, 2, 3, 4, 5, 6
