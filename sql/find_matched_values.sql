-- The values that rules may match on, of the cost of a month: by column of fact_cost_tagged.
SELECT DISTINCT 'service' AS matched_column, service AS matched_value
FROM fact_cost_tagged
WHERE period_start = :period_start AND service IS NOT NULL
UNION ALL
SELECT DISTINCT 'service_component', service_component
FROM fact_cost_tagged
WHERE period_start = :period_start AND service_component IS NOT NULL
UNION ALL
SELECT DISTINCT 'charge_class', charge_class
FROM fact_cost_tagged
WHERE period_start = :period_start AND charge_class IS NOT NULL
UNION ALL
SELECT DISTINCT 'usage_account_id', usage_account_id
FROM fact_cost_tagged
WHERE period_start = :period_start AND usage_account_id IS NOT NULL
UNION ALL
SELECT DISTINCT 'plan_id', plan_id
FROM fact_cost_tagged
WHERE period_start = :period_start AND plan_id IS NOT NULL
ORDER BY 1, 2
