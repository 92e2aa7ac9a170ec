-- What stands in the books about one month: its entries and every adjustment booked since, netted at the
-- grain of entries. :usage_period_start is the month it is about, whatever month it was booked in. Without
-- one-time rules it is what deliveries account for: a late one is compared with that, and takes no decision
-- back.
WITH posted AS (
    SELECT
        service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id,
        rule_version, allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd
    FROM fact_cost_allocated
    WHERE period_start = :usage_period_start
    UNION ALL
    SELECT
        service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id,
        rule_version, allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd
    FROM fact_cost_adjustment
    WHERE usage_period_start = :usage_period_start AND (:with_one_time OR reason NOT LIKE 'one_time_rule:%')
)

SELECT
    service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id,
    CAST(rule_version AS BIGINT) AS rule_version,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM posted
GROUP BY
    service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id, rule_version
ORDER BY
    service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id, rule_version
