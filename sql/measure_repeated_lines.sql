-- Lines that stand in a delivery more than once: same id, interval and invoice, which no two lines of a real
-- report share. AWS does not promise that this cannot be, so they are counted and kept. Of a
-- large month every :share-th line is looked at, by its hash, so that a repeated file is always seen at a
-- fraction of the work.
WITH keyed AS (
    SELECT
        line_item_unblended_cost AS cost_usd,
        ROW_HASH(
            identity_line_item_id,
            identity_time_interval,
            bill_invoice_id
        ) AS line_hash
    FROM delivered_lines
    WHERE COALESCE(identity_line_item_id, '') <> ''
),

repeated AS (
    SELECT
        COUNT(*) - 1 AS row_count,
        SUM(cost_usd) - MAX(cost_usd) AS cost_usd
    FROM keyed
    WHERE MOD(line_hash, CAST(:share AS BIGINT)) = 0
    GROUP BY line_hash
    HAVING COUNT(*) > 1
)

SELECT
    COALESCE(CAST(SUM(row_count) AS BIGINT), 0) AS repeated_rows,
    COALESCE(SUM(cost_usd), 0) AS repeated_usd
FROM repeated
