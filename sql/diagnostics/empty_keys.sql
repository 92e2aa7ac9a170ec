-- Which keys had a total of 0, in which run, and what became of that run?
-- The pasted query sums key_total over entries. The total stands on every tenant's line, reversals
-- carry it negated, and a run that is refused for an empty key writes no entry at all: it can be 0
-- without an empty key and never shows the one that stopped a run. The frozen keys do.
WITH outcomes AS (
    SELECT
        inputs_id,
        MAX(run_id) AS run_id,
        MAX(CASE WHEN status = 'published' THEN 1 ELSE 0 END) AS published,
        MAX(error_code) AS error_code
    FROM allocation_run_log
    GROUP BY 1
)

SELECT
    k.period_start,
    k.key_name,
    k.measure,
    MAX(k.key_total) AS key_total,
    CAST(COUNT(*) AS BIGINT) AS tenant_count,
    MAX(k.frozen_at) AS frozen_at,
    MAX(o.run_id) AS run_id,
    MAX(CASE WHEN h.run_id IS NOT NULL THEN 'current' WHEN o.published = 1 THEN 'replaced' ELSE 'refused' END)
        AS outcome,
    MAX(o.error_code) AS error_code
FROM allocation_key_snapshot AS k
LEFT JOIN outcomes AS o ON o.inputs_id = k.inputs_id
LEFT JOIN period_head AS h ON h.table_name = 'fact_cost_allocated' AND h.inputs_id = k.inputs_id
WHERE k.period_start BETWEEN :start AND :end
GROUP BY k.inputs_id, k.period_start, k.key_name, k.measure
HAVING MAX(k.key_total) = 0
ORDER BY 1, 6 DESC, 2
