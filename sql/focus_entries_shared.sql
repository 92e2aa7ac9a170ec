-- The entries of a run that rules made, the parts of a pool side by side.
SELECT *
FROM fact_cost_allocated
WHERE
    period_start = :period_start AND run_id = :run_id AND entry_type = 'allocation'
    AND allocation_method <> 'direct'
ORDER BY
    rule_id, rule_version, service, service_component, charge_class, delivery_id, key_name, key_total,
    pool_cost_usd, tenant_id, key_value, allocated_cost_usd, allocated_amortized_cost_usd, entry_id
