-- cost_as_reported: what was booked in each month, adjustments of earlier ones included. Of a closed month it
-- never changes.
SELECT
    period_start,
    period_start AS usage_period_start,
    service, service_component, charge_class, tenant_id, plan_id,
    allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd
FROM fact_cost_allocated
UNION ALL
SELECT
    period_start,
    usage_period_start,
    service, service_component, charge_class, tenant_id, plan_id,
    allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd
FROM fact_cost_adjustment
