-- fact_cost_tagged: the lines of a period at the grain that allocation and drill-down need. Who names the
-- tenant, strongest first: a tag on the resource, on the account, a cost category, who called (which comes in
-- the column of the category), the same resource's other lines, the account mapping. A name counts only
-- while its tenant is active at the time of usage.
-- An unknown tag names no tenant: the next kind is asked, and tenant_tag keeps what was delivered. A plan
-- tag that names no plan in force names none: the tenant's own plan counts, and plan_tag keeps the tag.
-- What no container used of its instance is borne by whom the policy names (borne_by, docs/adr/0054).
-- In one order: made again from the same inputs, the file has the same bytes.
WITH spoken AS (
    SELECT usage_slice, resource_tenant_name AS tag_name FROM spelled_groups
    UNION DISTINCT
    SELECT usage_slice, account_tenant_name AS tag_name FROM spelled_groups
    UNION DISTINCT
    SELECT usage_slice, category_tenant_name AS tag_name FROM spelled_groups
    UNION DISTINCT
    SELECT usage_slice, inherited_tenant_name AS tag_name FROM spelled_groups
),

resolved AS (
    SELECT
        s.usage_slice,
        s.tag_name,
        CASE
            WHEN COALESCE(a.canonical, s.tag_name) IN ('__unallocated__', '__operator__') THEN NULL
            WHEN a.canonical IS NULL AND LOWER(s.tag_name) LIKE 'e-tag-clash %' THEN NULL
            WHEN :any_tenant THEN COALESCE(a.canonical, s.tag_name)
            ELSE COALESCE(c.tenant_id, t.tenant_id)
        END AS tenant_id
    FROM spoken AS s
    LEFT JOIN alias_names AS a
        ON
            a.tag_name = 'tenant_id' AND a.spelled = s.tag_name
            AND a.effective_from <= s.usage_slice
            AND (a.effective_to IS NULL OR a.effective_to > s.usage_slice)
    LEFT JOIN tenants AS c
        ON
            c.tenant_id = a.canonical
            AND c.active_from <= s.usage_slice AND (c.active_to IS NULL OR c.active_to > s.usage_slice)
    LEFT JOIN tenant_names AS t
        ON
            a.canonical IS NULL AND t.spelled = s.tag_name
            AND t.active_from <= s.usage_slice AND (t.active_to IS NULL OR t.active_to > s.usage_slice)
    WHERE s.tag_name IS NOT NULL
),

-- a name that two plans share in the declared spelling names neither
spelled_plans AS (
    SELECT spelled, MIN(plan_id) AS plan_id
    FROM plan_names
    GROUP BY 1
    HAVING COUNT(DISTINCT plan_id) = 1
),

named AS (
    SELECT
        g.*,
        r1.tenant_id AS by_resource,
        r2.tenant_id AS by_account,
        r3.tenant_id AS by_category,
        r4.tenant_id AS by_inheritance,
        CASE WHEN :any_mapping OR mt.tenant_id IS NOT NULL THEN m.tenant_id END AS by_mapping,
        m.tenant_id AS mapped_name,
        CASE
            WHEN :any_plan THEN COALESCE(p.canonical, g.plan_name)
            ELSE COALESCE(pc.plan_id, pn.plan_id)
        END AS tagged_plan,
        COALESCE(ca.canonical, g.component_name) AS service_component
    FROM spelled_groups AS g
    LEFT JOIN resolved AS r1 ON r1.usage_slice = g.usage_slice AND r1.tag_name = g.resource_tenant_name
    LEFT JOIN resolved AS r2 ON r2.usage_slice = g.usage_slice AND r2.tag_name = g.account_tenant_name
    LEFT JOIN resolved AS r3 ON r3.usage_slice = g.usage_slice AND r3.tag_name = g.category_tenant_name
    LEFT JOIN resolved AS r4 ON r4.usage_slice = g.usage_slice AND r4.tag_name = g.inherited_tenant_name
    LEFT JOIN account_tenants AS m
        ON
            m.usage_account_id = g.account_id
            AND m.effective_from <= g.usage_slice
            AND (m.effective_to IS NULL OR m.effective_to > g.usage_slice)
    LEFT JOIN tenants AS mt
        ON
            mt.tenant_id = m.tenant_id
            AND mt.active_from <= g.usage_slice AND (mt.active_to IS NULL OR mt.active_to > g.usage_slice)
    LEFT JOIN alias_names AS p
        ON
            p.tag_name = 'plan_id' AND p.spelled = g.plan_name
            AND p.effective_from <= g.usage_slice
            AND (p.effective_to IS NULL OR p.effective_to > g.usage_slice)
    LEFT JOIN plan_names AS pc ON pc.plan_id = p.canonical
    LEFT JOIN spelled_plans AS pn ON p.canonical IS NULL AND pn.spelled = g.plan_name
    LEFT JOIN tag_aliases AS ca
        ON
            ca.tag_name = 'service_component' AND ca.alias = g.component_name
            AND ca.effective_from <= g.usage_slice
            AND (ca.effective_to IS NULL OR ca.effective_to > g.usage_slice)
),

decided AS (
    SELECT
        n.*,
        COALESCE(borne_by, by_resource, by_account, by_category, by_inheritance, by_mapping) AS tenant_id,
        CASE
            WHEN borne_by IS NOT NULL THEN 'none'
            WHEN by_resource IS NOT NULL THEN 'resource'
            WHEN by_account IS NOT NULL THEN 'account'
            WHEN by_category IS NOT NULL AND is_by_identity THEN 'identity'
            WHEN by_category IS NOT NULL THEN 'cost_category'
            WHEN by_inheritance IS NOT NULL THEN 'inherited'
            WHEN by_mapping IS NOT NULL THEN 'mapping'
            ELSE 'none'
        END AS tag_source,
        CASE
            WHEN COALESCE(borne_by, by_resource, by_account, by_category) IS NULL
                THEN COALESCE(
                    resource_tenant_name, account_tenant_name, category_tenant_name,
                    CASE WHEN COALESCE(by_inheritance, by_mapping) IS NULL THEN inherited_tenant_name END,
                    CASE WHEN COALESCE(by_inheritance, by_mapping) IS NULL THEN mapped_name END
                )
        END AS tenant_tag,
        CASE WHEN tagged_plan IS NULL AND borne_by IS NULL THEN plan_name END AS plan_tag
    FROM named AS n
)

SELECT
    d.period_start,
    d.source_id,
    d.delivery_id,
    d.service,
    d.service_component,
    CASE WHEN d.tenant_id IS NULL THEN d.account_id END AS usage_account_id,
    d.charge_class,
    d.tenant_id,
    CASE WHEN d.borne_by IS NULL THEN COALESCE(d.tagged_plan, p.plan_id) END AS plan_id,
    d.tag_source,
    d.tenant_tag,
    d.plan_tag,
    (
        d.tag_source IN ('resource', 'account')
        AND (COALESCE(d.resource_plan, d.account_plan) IS NOT NULL OR NOT :plan_required)
    ) AS is_tag_complete,
    CAST(SUM(d.line_count) AS BIGINT) AS line_count,
    CAST(SUM(d.positive_line_count) AS BIGINT) AS positive_line_count,
    SUM(d.unblended_cost) AS unblended_cost,
    SUM(d.amortized_cost) AS amortized_cost,
    SUM(d.net_unblended_cost) AS net_unblended_cost,
    SUM(d.net_amortized_cost) AS net_amortized_cost,
    SUM(d.true_up_cost) AS true_up_cost,
    SUM(d.upfront_cost) AS upfront_cost,
    SUM(d.net_true_up_cost) AS net_true_up_cost,
    SUM(d.net_upfront_cost) AS net_upfront_cost,
    SUM(d.positive_unblended_cost) AS positive_unblended_cost,
    SUM(d.positive_amortized_cost) AS positive_amortized_cost,
    SUM(d.positive_net_amortized_cost) AS positive_net_amortized_cost,
    d.takes_back
FROM decided AS d
LEFT JOIN tenants AS p ON p.tenant_id = d.tenant_id
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, d.takes_back
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, d.takes_back
