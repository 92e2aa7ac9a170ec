-- The entries of one run: what it posts (posted_entries, from gather_entries or, when a run is taken back,
-- gather_reposted_entries) and the reversal of the run that it replaces. In one order down to the last tie:
-- made again from the same inputs, the file has the same bytes.
WITH entries AS (
    SELECT
        'reversal' AS entry_type,
        run_id AS reverses_run_id,
        entry_id AS reversed_entry_id,
        service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id,
        rule_version, key_name, -key_value AS key_value, -key_total AS key_total,
        -pool_cost_usd AS pool_cost_usd, -allocated_cost_usd AS allocated_cost_usd,
        -allocated_amortized_cost_usd AS allocated_amortized_cost_usd,
        -allocated_net_amortized_cost_usd AS allocated_net_amortized_cost_usd,
        delivery_id
    FROM fact_cost_allocated
    WHERE period_start = :period_start AND run_id = :predecessor_run_id AND entry_type = 'allocation'
    UNION ALL
    SELECT
        'allocation', NULL, '', service, service_component, charge_class, tenant_id, plan_id,
        allocation_method, rule_id, rule_version, key_name, key_value, key_total, pool_cost_usd,
        allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd, delivery_id
    FROM posted_entries
),

numbered AS (
    SELECT
        e.*,
        ROW_NUMBER() OVER (
            ORDER BY
                entry_type DESC, reversed_entry_id, allocation_method, service, service_component,
                charge_class, rule_id, tenant_id, plan_id, delivery_id,
                pool_cost_usd, key_value, allocated_cost_usd, allocated_amortized_cost_usd,
                allocated_net_amortized_cost_usd, key_name
        ) AS entry_number
    FROM entries AS e
)

SELECT
    :run_id || '-' || CAST(entry_number AS VARCHAR) AS entry_id,
    CAST(:run_id AS VARCHAR) AS run_id,
    entry_type,
    reverses_run_id,
    NULLIF(reversed_entry_id, '') AS reverses_entry_id,
    CAST(:period_start AS DATE) AS period_start,
    service, service_component, charge_class, tenant_id, plan_id, allocation_method, rule_id,
    CAST(rule_version AS BIGINT) AS rule_version,
    key_name,
    CAST(key_value AS DECIMAL(38, 18)) AS key_value,
    CAST(key_total AS DECIMAL(38, 18)) AS key_total,
    CAST(pool_cost_usd AS DECIMAL(38, 18)) AS pool_cost_usd,
    allocated_cost_usd,
    allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd,
    delivery_id
FROM numbered
ORDER BY entry_number
