-- The CUR lines behind entries of one service, component and charge class, by account, line type, usage type
-- and the tenant tag they came with; the largest first.
SELECT
    line_item_usage_account_id AS usage_account_id,
    line_item_line_item_type AS line_type,
    line_item_usage_type AS usage_type,
    resource_tags_user_tenant_id AS tenant_tag,
    COUNT(*) AS line_count,
    SUM(line_item_unblended_cost) AS unblended_usd
FROM fact_cost_raw
WHERE
    period_start = :period_start
    AND product_servicecode = :service
    AND charge_class = :charge_class
    AND (:delivery_id = '' OR delivery_id = :delivery_id)
GROUP BY 1, 2, 3, 4
ORDER BY ABS(SUM(line_item_unblended_cost)) DESC, 1, 2, 3, 4
