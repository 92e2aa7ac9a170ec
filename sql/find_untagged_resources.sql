-- Resources with a line that has no tenant tag: only these can inherit one.
SELECT DISTINCT untagged_resource AS resource_id
FROM cost_lines
WHERE untagged_resource IS NOT NULL AND period_start = :period_start
