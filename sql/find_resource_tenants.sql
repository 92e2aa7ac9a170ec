-- The one tenant tag that an otherwise untagged resource carries on its other lines of the month. A
-- resource that carried two is nobody's: which of them a line belongs to cannot be told.
SELECT
    l.resource_id,
    MIN(l.tenant_tag) AS inherited_tenant
FROM named_lines AS l
INNER JOIN untagged_resources AS u ON u.resource_id = l.resource_id
WHERE l.tenant_tag IS NOT NULL
GROUP BY 1
HAVING MIN(l.tenant_tag) = MAX(l.tenant_tag)
