-- Lines set aside in a period: what reconciliation waits for.
SELECT
    COUNT(*) AS row_count,
    COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd
FROM cur_quarantine
WHERE period_start = :period_start
