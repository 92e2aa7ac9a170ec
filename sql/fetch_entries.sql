-- Entries that stand for a month, of one tenant or one id: what a reversal took back is left out.
SELECT
    e.entry_id, e.run_id, e.period_start, e.service, e.service_component, e.charge_class, e.tenant_id,
    e.plan_id, e.allocation_method, e.rule_id, e.rule_version, e.key_name, e.key_value, e.key_total,
    e.pool_cost_usd, e.allocated_cost_usd, e.allocated_amortized_cost_usd,
    e.allocated_net_amortized_cost_usd, e.delivery_id
FROM fact_cost_allocated AS e
WHERE
    e.entry_type = 'allocation'
    AND e.period_start = :period_start
    AND (:entry_id = '' OR e.entry_id = :entry_id)
    AND (:entry_id <> '' OR e.run_id = :head_run_id)
    AND (:tenant_id = '' OR e.tenant_id = :tenant_id)
    AND (:service = '' OR e.service = :service)
ORDER BY ABS(e.allocated_cost_usd) DESC, e.entry_id
