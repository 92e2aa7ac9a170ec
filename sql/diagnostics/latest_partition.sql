-- How fresh is each source and month? Newest Usage line, when AWS delivered, and how ingesting it went.
-- The pasted query takes the newest line of any kind over all sources and months. Recurring fees are
-- listed for hours that have not happened yet, so its date lies in the future while usage may be days
-- old; and one fresh source hides a late one.
WITH usage_lines AS (
    SELECT
        delivery_id,
        MAX(CASE WHEN line_item_line_item_type = 'Usage' THEN line_item_usage_start_date END)
            AS newest_usage_ts,
        MAX(line_item_usage_start_date) AS newest_line_ts
    FROM cur_billing_master
    GROUP BY 1
),

last_attempts AS (
    SELECT
        source_id,
        period_start,
        MAX(log_seq) AS log_seq
    FROM cur_ingestion_log
    GROUP BY 1, 2
)

SELECT
    h.source_id,
    h.period_start,
    u.newest_usage_ts,
    u.newest_line_ts,
    d.delivered_at,
    d.invoice_state,
    l.status AS last_ingestion,
    l.error_code,
    l.finished_at
FROM cur_billing_head AS h
INNER JOIN cur_delivery AS d ON d.delivery_id = h.delivery_id
LEFT JOIN usage_lines AS u ON u.delivery_id = h.delivery_id
LEFT JOIN last_attempts AS a ON a.source_id = h.source_id AND a.period_start = h.period_start
LEFT JOIN cur_ingestion_log AS l ON l.log_seq = a.log_seq
ORDER BY h.period_start DESC, h.source_id
