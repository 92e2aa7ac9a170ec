-- The one tenant tag that an otherwise untagged resource carries on its other lines of the month. A
-- resource that carried two is nobody's: which of them a line belongs to cannot be told.
SELECT
    l.line_item_resource_id AS resource_id,
    MIN(COALESCE(l.resource_tenant, l.account_tenant, l.category_tenant)) AS inherited_tenant
FROM cost_lines AS l
INNER JOIN untagged_resources AS u ON u.resource_id = l.line_item_resource_id
WHERE
    l.period_start = :period_start
    AND COALESCE(l.resource_tenant, l.account_tenant, l.category_tenant) IS NOT NULL
GROUP BY 1
HAVING
    MIN(COALESCE(l.resource_tenant, l.account_tenant, l.category_tenant))
    = MAX(COALESCE(l.resource_tenant, l.account_tenant, l.category_tenant))
