-- Single lines with who bears them: line_owners says it by what lines agree in. A savings-plan negation that
-- takes usage back is not there, since it costs nothing for itself; what it leaves of the usage is a row of
-- tag_groups without lines (sql/group_lines_by_tags.sql). Costs are those of the ledger.
WITH negated AS (
    SELECT
        l.*,
        r.inherited_tenant,
        CASE
            WHEN n.taken_back IS NULL OR n.taken_back = 'part' THEN l.line_item_unblended_cost
            ELSE CAST(0 AS DECIMAL(38, 18))
        END AS billed_usd
    FROM single_cost_lines AS l
    LEFT JOIN resource_tenants AS r ON r.resource_id = l.untagged_resource
    LEFT JOIN negations AS n
        ON
            n.negation_key = l.negation_key AND n.negation_zone = l.negation_zone
            AND n.usage_start = l.line_item_usage_start_date AND n.usage_end = l.usage_end
    WHERE
        l.period_start = :period_start
        AND (n.taken_back IS NULL OR l.commitment_line <> 'SavingsPlanNegation')
)

SELECT
    l.*,
    o.tenant_id,
    o.plan_id,
    o.service_component
FROM negated AS l
INNER JOIN line_owners AS o
    ON
        o.usage_slice = l.usage_slice
        AND o.account_id IS NOT DISTINCT FROM l.line_item_usage_account_id
        AND o.component_tag IS NOT DISTINCT FROM l.component_tag
        AND o.resource_tenant IS NOT DISTINCT FROM l.resource_tenant
        AND o.account_tenant IS NOT DISTINCT FROM l.account_tenant
        AND o.category_tenant IS NOT DISTINCT FROM l.category_tenant
        AND o.inherited_tenant IS NOT DISTINCT FROM l.inherited_tenant
        AND o.resource_plan IS NOT DISTINCT FROM l.resource_plan
        AND o.account_plan IS NOT DISTINCT FROM l.account_plan
        AND o.category_plan IS NOT DISTINCT FROM l.category_plan
