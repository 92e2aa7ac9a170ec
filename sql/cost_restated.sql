-- cost_restated: what each month costs as known today, whichever month it was booked in. May change.
SELECT
    period_start AS usage_period_start,
    period_start AS posted_period_start,
    service, service_component, charge_class, tenant_id, plan_id,
    allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd
FROM fact_cost_allocated
UNION ALL
SELECT
    usage_period_start,
    period_start,
    service, service_component, charge_class, tenant_id, plan_id,
    allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd
FROM fact_cost_adjustment
