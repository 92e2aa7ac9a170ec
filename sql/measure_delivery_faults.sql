-- Lines to set aside, by reason: rows, what they are known to cost, and how many cost nobody knows what.
SELECT
    COALESCE(g.quarantine_code, 'E-ACCOUNT') AS quarantine_code,
    CAST(SUM(g.row_count) AS BIGINT) AS row_count,
    SUM(g.cost_usd) AS cost_usd,
    CAST(SUM(g.unpriced_rows) AS BIGINT) AS unpriced_rows
FROM delivered_groups AS g
WHERE g.quarantine_code IS NOT NULL OR g.account IN (SELECT b.account FROM bad_accounts AS b)
GROUP BY 1
ORDER BY 2 DESC, 1
