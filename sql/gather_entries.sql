-- What an allocation posts: what tags already gave to tenants, what is held of tags that name nobody (the tag
-- stands where a key would), what no container used of its instance where the policy says who bears that
-- (docs/adr/0054), and what the rules gave (split on integers outside SQL, delivered here as
-- split_entries).
SELECT
    service, service_component, charge_class, tenant_id, plan_id,
    'direct' AS allocation_method,
    CAST(NULL AS VARCHAR) AS rule_id,
    CAST(NULL AS BIGINT) AS rule_version,
    CAST(NULL AS VARCHAR) AS key_name,
    CAST(NULL AS DECIMAL(38, 18)) AS key_value,
    CAST(NULL AS DECIMAL(38, 18)) AS key_total,
    CAST(NULL AS DECIMAL(38, 18)) AS pool_cost_usd,
    SUM(unblended_cost) AS allocated_cost_usd,
    SUM(amortized_cost) AS allocated_amortized_cost_usd,
    SUM(net_amortized_cost) AS allocated_net_amortized_cost_usd,
    delivery_id
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_id NOT IN ('__operator__', '__unallocated__')
GROUP BY service, service_component, charge_class, tenant_id, plan_id, delivery_id
UNION ALL
SELECT
    service, service_component, charge_class, '__unallocated__', NULL, 'rule', '__unknown_tenant__', NULL,
    'tenant_tag:' || tenant_tag, NULL, NULL, SUM(unblended_cost), SUM(unblended_cost), SUM(amortized_cost),
    SUM(net_amortized_cost), delivery_id
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_id IS NULL AND tenant_tag IS NOT NULL AND :holds_unknown
GROUP BY service, service_component, charge_class, tenant_tag, delivery_id
UNION ALL
SELECT
    service, service_component, charge_class, tenant_id, NULL, 'rule', '__unused_containers__', NULL,
    NULL, NULL, NULL, SUM(unblended_cost), SUM(unblended_cost), SUM(amortized_cost),
    SUM(net_amortized_cost), delivery_id
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_id IN ('__operator__', '__unallocated__')
GROUP BY service, service_component, charge_class, tenant_id, delivery_id
UNION ALL
SELECT
    service, service_component, charge_class, tenant_id, plan_id, 'rule', rule_id, rule_version, key_name,
    key_value, key_total, pool_cost_usd, allocated_cost_usd, allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd, delivery_id
FROM split_entries
