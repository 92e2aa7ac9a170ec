-- Resources with a line that has no tenant tag: only these can inherit one.
SELECT DISTINCT untagged_resource AS resource_id
FROM named_lines
WHERE untagged_resource IS NOT NULL
