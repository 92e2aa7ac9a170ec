-- The month's lines by everything that tagging and allocation ask about, tags as delivered: aliases and
-- tenants meet groups afterwards, not lines.
SELECT
    l.period_start,
    l.source_id,
    l.delivery_id,
    l.product_servicecode AS service,
    l.component_tag,
    l.line_item_usage_account_id AS account_id,
    l.charge_class,
    l.usage_slice,
    l.resource_tenant,
    l.account_tenant,
    l.category_tenant,
    r.inherited_tenant,
    l.resource_plan,
    l.account_plan,
    l.category_plan,
    COUNT(*) AS line_count,
    COUNT_IF(l.line_item_unblended_cost > 0) AS positive_line_count,
    SUM(l.line_item_unblended_cost) AS unblended_cost,
    SUM(l.amortized_cost) AS amortized_cost,
    SUM(l.net_unblended_cost) AS net_unblended_cost,
    SUM(l.net_amortized_cost) AS net_amortized_cost,
    SUM(l.true_up_cost) AS true_up_cost,
    SUM(l.upfront_cost) AS upfront_cost,
    SUM(CASE WHEN l.line_item_unblended_cost > 0 THEN l.line_item_unblended_cost ELSE 0 END)
        AS positive_unblended_cost,
    SUM(CASE WHEN l.amortized_cost > 0 THEN l.amortized_cost ELSE 0 END) AS positive_amortized_cost,
    SUM(CASE WHEN l.net_amortized_cost > 0 THEN l.net_amortized_cost ELSE 0 END)
        AS positive_net_amortized_cost
FROM cost_lines AS l
LEFT JOIN resource_tenants AS r ON r.resource_id = l.untagged_resource
WHERE l.period_start = :period_start
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
