-- Covered usage of negations that take back only a part of it, by tags: the weights of their shares.
SELECT
    n.negation_key,
    n.group_zone,
    n.group_start,
    n.group_end,
    n.source_id,
    n.delivery_id,
    l.product_servicecode AS service,
    l.line_item_usage_account_id AS account_id,
    l.charge_class,
    l.usage_slice,
    l.component_tag,
    l.resource_tenant,
    l.account_tenant,
    l.category_tenant,
    r.inherited_tenant,
    l.resource_plan,
    l.account_plan,
    l.category_plan,
    l.container_of,
    MIN(n.negated_usd) AS negated_usd,
    MIN(n.negated_net_usd) AS negated_net_usd,
    SUM(l.line_item_unblended_cost) AS covered_usd,
    SUM(l.net_unblended_cost) AS covered_net_usd
FROM hourly_cost_lines AS l
INNER JOIN negations AS n
    ON
        n.negation_key = l.negation_key AND n.negation_zone = l.negation_zone
        AND n.usage_start = l.line_item_usage_start_date AND n.usage_end = l.usage_end
LEFT JOIN resource_tenants AS r ON r.resource_id = l.untagged_resource
WHERE
    l.period_start = :period_start AND n.taken_back = 'part'
    AND l.commitment_line = 'SavingsPlanCoveredUsage'
    AND l.line_item_line_item_type = 'SavingsPlanCoveredUsage'
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
