-- What savings-plan negations leave of the usage that they take back, by the direct entry it belongs to:
-- groups of tag_groups without lines, which no line of the bill shows.
SELECT
    e.entry_id,
    SUM(g.unblended_cost) AS billed_usd
FROM tag_groups AS g
INNER JOIN line_owners AS o
    ON
        o.usage_slice = g.usage_slice
        AND o.account_id IS NOT DISTINCT FROM g.account_id
        AND o.component_tag IS NOT DISTINCT FROM g.component_tag
        AND o.resource_tenant IS NOT DISTINCT FROM g.resource_tenant
        AND o.account_tenant IS NOT DISTINCT FROM g.account_tenant
        AND o.category_tenant IS NOT DISTINCT FROM g.category_tenant
        AND o.inherited_tenant IS NOT DISTINCT FROM g.inherited_tenant
        AND o.resource_plan IS NOT DISTINCT FROM g.resource_plan
        AND o.account_plan IS NOT DISTINCT FROM g.account_plan
        AND o.category_plan IS NOT DISTINCT FROM g.category_plan
INNER JOIN direct_entries AS e
    ON
        e.service = g.service AND e.charge_class = g.charge_class
        AND e.tenant_id = o.tenant_id AND e.delivery_id = g.delivery_id
        AND e.service_component IS NOT DISTINCT FROM o.service_component
        AND e.plan_id IS NOT DISTINCT FROM o.plan_id
WHERE g.line_count = 0
GROUP BY 1
ORDER BY 1
