-- Is the newest delivery of a month ingested, whole, from every source? Rows and exact cost.
-- The pasted query counts rows of all sources together. A month ingested from an older delivery of the
-- same size, or two sources whose gaps cancel, look right in it, and rows say nothing about money.
-- Every difference is 0 and both delivery ids agree when all is well.
WITH delivered AS (
    SELECT
        h.source_id,
        h.delivery_id,
        d.row_count,
        d.cost_usd
    FROM cur_billing_head AS h
    INNER JOIN cur_delivery AS d ON d.delivery_id = h.delivery_id
    WHERE h.period_start = :period_start
),

ingested AS (
    SELECT
        source_id,
        delivery_id,
        COUNT(*) AS row_count,
        SUM(line_item_unblended_cost) AS cost_usd
    FROM fact_cost_raw
    WHERE period_start = :period_start
    GROUP BY 1, 2
),

quarantined AS (
    SELECT
        source_id,
        COUNT(*) AS row_count,
        SUM(line_item_unblended_cost) AS cost_usd
    FROM cur_quarantine
    WHERE period_start = :period_start
    GROUP BY 1
)

SELECT
    COALESCE(d.source_id, i.source_id) AS source_id,
    d.delivery_id AS newest_delivery_id,
    i.delivery_id AS ingested_delivery_id,
    d.row_count AS delivered_rows,
    i.row_count AS ingested_rows,
    COALESCE(q.row_count, 0) AS quarantined_rows,
    COALESCE(i.row_count, 0) + COALESCE(q.row_count, 0) - COALESCE(d.row_count, 0) AS row_difference,
    d.cost_usd AS delivered_usd,
    i.cost_usd AS ingested_usd,
    COALESCE(i.cost_usd, 0) + COALESCE(q.cost_usd, 0) - COALESCE(d.cost_usd, 0) AS cost_difference_usd
FROM delivered AS d
FULL OUTER JOIN ingested AS i ON i.source_id = d.source_id
LEFT JOIN quarantined AS q ON q.source_id = COALESCE(d.source_id, i.source_id)
ORDER BY 1
