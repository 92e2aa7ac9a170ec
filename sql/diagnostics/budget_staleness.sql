-- Every budget in force and when it was last measured; the never measured ones first.
-- The pasted query lists the oldest twenty of budget_master. A budget that was loaded and not measured
-- since is not in that table, so the stalest one of all does not appear.
-- :today is today's date; a refresh is due daily at 04:00 UTC.
WITH in_force AS (
    SELECT
        budget_id,
        MAX(version) AS version
    FROM budgets
    WHERE effective_from <= :today AND (effective_to IS NULL OR effective_to > :today)
    GROUP BY 1
)

SELECT
    b.budget_id,
    b.version,
    b.scope_type,
    b.scope_value,
    m.period_start AS measured_period,
    m.last_refreshed_at,
    COALESCE(m.last_refreshed_at < CAST(:today AS TIMESTAMP), TRUE) AS refreshed_before_today,
    COALESCE(m.target_usd <> b.target_usd, FALSE) AS target_changed_since
FROM in_force AS f
INNER JOIN budgets AS b ON b.budget_id = f.budget_id AND b.version = f.version
LEFT JOIN budget_master AS m ON m.budget_id = b.budget_id
ORDER BY CASE WHEN m.last_refreshed_at IS NULL THEN 0 ELSE 1 END, m.last_refreshed_at, b.budget_id
