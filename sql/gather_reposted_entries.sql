-- What taking a run back posts instead (design rule 5.12): the stored lines of the run before it; where
-- there is none, or it was made from another delivery (:reposted_run_id is ''), the reversed run's own cost,
-- parked at __unallocated__. Stored lines are copied, never computed again.
SELECT
    service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id, rule_version,
    key_name, key_value, key_total, pool_cost_usd, allocated_cost_usd, allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd, delivery_id
FROM fact_cost_allocated
WHERE period_start = :period_start AND run_id = :reposted_run_id AND entry_type = 'allocation'
UNION ALL
SELECT
    service, service_component, charge_class, '__unallocated__', NULL, 'rule', NULL, NULL, NULL, NULL, NULL,
    SUM(allocated_cost_usd), SUM(allocated_cost_usd), SUM(allocated_amortized_cost_usd),
    SUM(allocated_net_amortized_cost_usd), delivery_id
FROM fact_cost_allocated
WHERE
    period_start = :period_start AND run_id = :reversed_run_id AND entry_type = 'allocation'
    AND :reposted_run_id = ''
GROUP BY service, service_component, charge_class, delivery_id
