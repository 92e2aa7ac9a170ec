-- Which columns does each newest delivery have too many, and which expected ones did AWS not send?
-- The pasted query shows only what is unexpected in any month. A column that is missing never appears
-- in it, because cur_billing_master always has every expected column (empty where nothing was sent).
WITH deliveries AS (
    SELECT
        h.period_start,
        h.source_id,
        d.columns_json
    FROM cur_billing_head AS h
    INNER JOIN cur_delivery AS d ON d.delivery_id = h.delivery_id
    WHERE h.period_start BETWEEN :start AND :end
),

seen_columns AS (
    SELECT column_name
    FROM information_schema.columns
    WHERE table_name = 'cur_billing_master'
)

SELECT
    d.period_start,
    d.source_id,
    s.column_name,
    'unexpected: kept, appended nullable' AS difference,
    FALSE AS required
FROM deliveries AS d
CROSS JOIN seen_columns AS s
LEFT JOIN expected_cur_schema_vn AS e ON e.column_name = s.column_name
WHERE e.column_name IS NULL AND STRPOS(d.columns_json, '"' || s.column_name || '"') > 0
UNION ALL
SELECT
    d.period_start,
    d.source_id,
    e.column_name,
    'not delivered: read as NULL' AS difference,
    e.required
FROM deliveries AS d
CROSS JOIN expected_cur_schema_vn AS e
WHERE
    e.column_name NOT IN ('source_id', 'delivery_id')
    AND STRPOS(d.columns_json, '"' || e.column_name || '"') = 0
ORDER BY 1, 2, 4 DESC, 3
