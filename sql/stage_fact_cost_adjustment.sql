-- Approved lines about a closed month, booked in the open one (adjustment_lines, as they were approved).
SELECT
    :run_id || '-' || CAST(l.line_number AS VARCHAR) AS entry_id,
    CAST(:run_id AS VARCHAR) AS run_id,
    'adjustment' AS entry_type,
    CAST(NULL AS VARCHAR) AS reverses_run_id,
    CAST(NULL AS VARCHAR) AS reverses_entry_id,
    CAST(:period_start AS DATE) AS period_start,
    l.service, l.service_component, l.charge_class, l.tenant_id, l.plan_id, l.allocation_method, l.rule_id,
    l.rule_version,
    CAST(NULL AS VARCHAR) AS key_name,
    CAST(NULL AS DECIMAL(38, 18)) AS key_value,
    CAST(NULL AS DECIMAL(38, 18)) AS key_total,
    CAST(NULL AS DECIMAL(38, 18)) AS pool_cost_usd,
    l.unblended_usd AS allocated_cost_usd,
    l.amortized_usd AS allocated_amortized_cost_usd,
    l.net_amortized_usd AS allocated_net_amortized_cost_usd,
    l.delivery_id,
    CAST(:usage_period_start AS DATE) AS usage_period_start,
    l.change_class || ': ' || CAST(:reason AS VARCHAR) AS reason,
    CAST(:evidence_id AS VARCHAR) AS evidence_id
FROM adjustment_lines AS l
