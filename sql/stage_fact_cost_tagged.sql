-- fact_cost_tagged: the lines of a period at the grain that allocation and drill-down need. Lines are
-- grouped by their tags first and mapped afterwards, so aliases and tenants meet groups, not lines.
-- An unknown tag names no tenant: the line is untagged, and tenant_tag keeps what was delivered.
WITH grouped AS (
    SELECT
        period_start,
        source_id,
        delivery_id,
        product_servicecode AS service,
        component_tag,
        line_item_usage_account_id AS account_id,
        charge_class,
        tenant_tag,
        plan_tag,
        COUNT(*) AS line_count,
        COUNT_IF(line_item_unblended_cost > 0) AS positive_line_count,
        SUM(line_item_unblended_cost) AS unblended_cost,
        SUM(amortized_cost) AS amortized_cost,
        SUM(net_unblended_cost) AS net_unblended_cost,
        SUM(net_amortized_cost) AS net_amortized_cost,
        SUM(true_up_cost) AS true_up_cost,
        SUM(upfront_cost) AS upfront_cost,
        SUM(CASE WHEN line_item_unblended_cost > 0 THEN line_item_unblended_cost ELSE 0 END)
            AS positive_unblended_cost,
        SUM(CASE WHEN amortized_cost > 0 THEN amortized_cost ELSE 0 END) AS positive_amortized_cost,
        SUM(CASE WHEN net_amortized_cost > 0 THEN net_amortized_cost ELSE 0 END)
            AS positive_net_amortized_cost
    FROM cost_lines
    WHERE period_start = :period_start
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
),

named AS (
    SELECT
        g.*,
        COALESCE(ta.canonical, g.tenant_tag) AS tenant_name,
        COALESCE(pa.canonical, g.plan_tag) AS plan_name,
        COALESCE(ca.canonical, g.component_tag) AS service_component
    FROM grouped AS g
    LEFT JOIN tag_aliases AS ta ON ta.tag_name = 'tenant_id' AND ta.alias = g.tenant_tag
    LEFT JOIN tag_aliases AS pa ON pa.tag_name = 'plan_id' AND pa.alias = g.plan_tag
    LEFT JOIN tag_aliases AS ca ON ca.tag_name = 'service_component' AND ca.alias = g.component_tag
),

mapped AS (
    SELECT
        n.*,
        CASE
            WHEN n.tenant_name IN ('__unallocated__', '__operator__') THEN NULL
            WHEN :any_tenant OR t.tenant_id IS NOT NULL THEN n.tenant_name
        END AS tagged_tenant,
        a.tenant_id AS account_tenant
    FROM named AS n
    LEFT JOIN tenants AS t ON t.tenant_id = n.tenant_name
    LEFT JOIN account_tenants AS a
        ON
            a.usage_account_id = n.account_id
            AND a.effective_from <= n.period_start
            AND (a.effective_to IS NULL OR a.effective_to > n.period_start)
)

SELECT
    m.period_start,
    m.source_id,
    m.delivery_id,
    m.service,
    m.service_component,
    CASE WHEN COALESCE(m.tagged_tenant, m.account_tenant) IS NULL THEN m.account_id END AS usage_account_id,
    m.charge_class,
    COALESCE(m.tagged_tenant, m.account_tenant) AS tenant_id,
    COALESCE(m.plan_name, p.plan_id) AS plan_id,
    CASE
        WHEN m.tagged_tenant IS NOT NULL THEN 'resource'
        WHEN m.account_tenant IS NOT NULL THEN 'mapping'
        ELSE 'none'
    END AS tag_source,
    CASE WHEN m.tagged_tenant IS NULL THEN m.tenant_tag END AS tenant_tag,
    (m.tagged_tenant IS NOT NULL AND (m.plan_tag IS NOT NULL OR NOT :plan_required)) AS is_tag_complete,
    CAST(SUM(m.line_count) AS BIGINT) AS line_count,
    CAST(SUM(m.positive_line_count) AS BIGINT) AS positive_line_count,
    SUM(m.unblended_cost) AS unblended_cost,
    SUM(m.amortized_cost) AS amortized_cost,
    SUM(m.net_unblended_cost) AS net_unblended_cost,
    SUM(m.net_amortized_cost) AS net_amortized_cost,
    SUM(m.true_up_cost) AS true_up_cost,
    SUM(m.upfront_cost) AS upfront_cost,
    SUM(m.positive_unblended_cost) AS positive_unblended_cost,
    SUM(m.positive_amortized_cost) AS positive_amortized_cost,
    SUM(m.positive_net_amortized_cost) AS positive_net_amortized_cost
FROM mapped AS m
LEFT JOIN tenants AS p ON p.tenant_id = COALESCE(m.tagged_tenant, m.account_tenant)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
