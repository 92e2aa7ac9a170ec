-- Lines set aside in a period, by reason.
SELECT
    quarantine_code,
    COUNT(*) AS row_count,
    COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd
FROM cur_quarantine
WHERE period_start = :period_start
GROUP BY 1
ORDER BY 2 DESC, 1
