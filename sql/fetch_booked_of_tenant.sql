-- What was booked in a month about closed ones for one tenant, entry by entry.
SELECT
    a.entry_id, a.usage_period_start, a.service, a.service_component, a.charge_class, a.reason,
    a.allocated_cost_usd, a.allocated_amortized_cost_usd, a.allocated_net_amortized_cost_usd
FROM fact_cost_adjustment AS a
WHERE
    a.period_start = :period_start
    AND a.tenant_id = :tenant_id
ORDER BY a.usage_period_start, a.service, a.entry_id
