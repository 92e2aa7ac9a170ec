-- Split rows by which nothing is split, or not as they say: the fault, how many hours of instances or pods
-- have it, and the cost that they split. An hour with several faults is there once.
--   no_parent    no line of the instance begins with the span: nothing to split
--   negative     a part below 0;  above_one  a pod's part of its instance above 1
--   no_figures   no cost in any row of the hour
--   no_column    rows of a known operation that name no instance
--   two_tenants  a pod whose rows name several tenants; each row counts for whom it names
WITH hours AS (
    SELECT
        parent_id,
        span_start,
        MAX(fault) AS fault,
        SUM(used_usd) + SUM(unused_usd) AS split_usd
    FROM container_rows
    GROUP BY 1, 2
),

instances AS (
    SELECT DISTINCT
        line_item_resource_id AS parent_id,
        line_item_usage_start_date AS span_start
    FROM split_lines
    WHERE
        COALESCE(split_line_item_parent_resource_id, '') = ''
        AND line_item_resource_id IN (SELECT parent_id FROM hours)
),

judged AS (
    SELECT
        CASE
            WHEN i.parent_id IS NULL THEN 'no_parent'
            WHEN h.fault IS NOT NULL THEN h.fault
            WHEN h.split_usd <= 0 THEN 'no_figures'
        END AS fault,
        h.split_usd
    FROM hours AS h
    LEFT JOIN instances AS i ON i.parent_id = h.parent_id AND i.span_start = h.span_start
),

named AS (
    SELECT
        line_item_resource_id AS pod_id,
        SUM(COALESCE(split_line_item_split_cost, 0) + COALESCE(split_line_item_unused_cost, 0)) AS split_usd
    FROM split_lines
    WHERE split_line_item_parent_resource_id <> '' AND line_item_resource_id <> ''
    GROUP BY 1
    HAVING MIN(TRIM(tenant_tag)) <> MAX(TRIM(tenant_tag))
)

SELECT
    fault,
    COUNT(*) AS found,
    SUM(split_usd) AS split_usd
FROM judged
WHERE fault IS NOT NULL
GROUP BY 1
UNION ALL
SELECT
    'two_tenants',
    COUNT(*),
    SUM(split_usd)
FROM named
HAVING COUNT(*) > 0
UNION ALL
SELECT
    'no_column',
    COUNT(*),
    SUM(COALESCE(split_line_item_split_cost, 0) + COALESCE(split_line_item_unused_cost, 0))
FROM split_lines
WHERE
    line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2')
    AND COALESCE(split_line_item_parent_resource_id, '') = ''
HAVING COUNT(*) > 0
ORDER BY 1
