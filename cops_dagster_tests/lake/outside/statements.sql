-- cost_as_reported
SELECT
  period_start,
  period_start AS usage_period_start,
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  allocated_net_amortized_cost_usd
FROM fact_cost_allocated
UNION ALL
SELECT
  period_start,
  usage_period_start,
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  allocated_net_amortized_cost_usd
FROM fact_cost_adjustment;

-- cost_restated
SELECT
  period_start AS usage_period_start,
  period_start AS posted_period_start,
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  allocated_net_amortized_cost_usd
FROM fact_cost_allocated
UNION ALL
SELECT
  usage_period_start,
  period_start,
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  allocated_net_amortized_cost_usd
FROM fact_cost_adjustment;

-- diagnostics/budget_staleness
WITH in_force AS (
  SELECT
    budget_id,
    MAX(version) AS version
  FROM budgets
  WHERE
    effective_from <= :today AND (
      effective_to IS NULL OR effective_to > :today
    )
  GROUP BY
    1
)
SELECT
  b.budget_id,
  b.version,
  b.scope_type,
  b.scope_value,
  m.period_start AS measured_period,
  m.last_refreshed_at,
  COALESCE(m.last_refreshed_at < CAST(:today AS TIMESTAMP(6)), TRUE) AS refreshed_before_today,
  COALESCE(m.target_usd <> b.target_usd, FALSE) AS target_changed_since
FROM in_force AS f
INNER JOIN budgets AS b
  ON b.budget_id = f.budget_id AND b.version = f.version
LEFT JOIN budget_master AS m
  ON m.budget_id = b.budget_id
ORDER BY
  CASE WHEN m.last_refreshed_at IS NULL THEN 0 ELSE 1 END,
  m.last_refreshed_at,
  b.budget_id;

-- diagnostics/cur_vs_allocated_vs_invoiced
WITH newest AS (
  SELECT
    h.period_start,
    SUM(d.cost_usd) AS delivered_usd
  FROM cur_billing_head AS h
  INNER JOIN cur_delivery AS d
    ON d.delivery_id = h.delivery_id
  GROUP BY
    1
)
SELECT
  s.period_start,
  n.delivered_usd,
  s.aws_total_usd,
  n.delivered_usd - s.aws_total_usd AS not_yet_reconciled_usd,
  s.allocated_total_usd,
  s.operator_usd,
  s.unallocated_usd,
  s.adjustments_usd,
  s.basis_difference_usd,
  s.markup_usd,
  s.expected_usd,
  s.invoiced_total_usd,
  s.variance_usd,
  s.variance_pct,
  s.status,
  s.worst_tenant_id,
  s.worst_tenant_status,
  s.charge_basis,
  s.reconciled_at,
  s.run_id
FROM recon_summary AS s
LEFT JOIN newest AS n
  ON n.period_start = s.period_start
WHERE
  s.period_start BETWEEN :start AND :end
ORDER BY
  s.period_start DESC;

-- diagnostics/empty_keys
WITH outcomes AS (
  SELECT
    inputs_id,
    MAX(run_id) AS run_id,
    MAX(CASE WHEN status = 'published' THEN 1 ELSE 0 END) AS published,
    MAX(error_code) AS error_code
  FROM allocation_run_log
  GROUP BY
    1
)
SELECT
  k.period_start,
  k.key_name,
  k.measure,
  MAX(k.key_total) AS key_total,
  CAST(COUNT(*) AS BIGINT) AS tenant_count,
  MAX(k.frozen_at) AS frozen_at,
  MAX(o.run_id) AS run_id,
  MAX(
    CASE
      WHEN NOT h.run_id IS NULL
      THEN 'current'
      WHEN o.published = 1
      THEN 'replaced'
      ELSE 'refused'
    END
  ) AS outcome,
  MAX(o.error_code) AS error_code
FROM allocation_key_snapshot AS k
LEFT JOIN outcomes AS o
  ON o.inputs_id = k.inputs_id
LEFT JOIN period_head AS h
  ON h.table_name = 'fact_cost_allocated' AND h.inputs_id = k.inputs_id
WHERE
  k.period_start BETWEEN :start AND :end
GROUP BY
  k.inputs_id,
  k.period_start,
  k.key_name,
  k.measure
HAVING
  MAX(k.key_total) = 0
ORDER BY
  1,
  6 DESC,
  2;

-- diagnostics/expected_vs_ingested
WITH delivered AS (
  SELECT
    h.source_id,
    h.delivery_id,
    d.row_count,
    d.cost_usd
  FROM cur_billing_head AS h
  INNER JOIN cur_delivery AS d
    ON d.delivery_id = h.delivery_id
  WHERE
    h.period_start = :period_start
), ingested AS (
  SELECT
    source_id,
    delivery_id,
    COUNT(*) AS row_count,
    SUM(line_item_unblended_cost) AS cost_usd
  FROM fact_cost_raw
  WHERE
    period_start = :period_start
  GROUP BY
    1,
    2
), quarantined AS (
  SELECT
    source_id,
    COUNT(*) AS row_count,
    SUM(line_item_unblended_cost) AS cost_usd
  FROM cur_quarantine
  WHERE
    period_start = :period_start
  GROUP BY
    1
)
SELECT
  COALESCE(d.source_id, i.source_id) AS source_id,
  d.delivery_id AS newest_delivery_id,
  i.delivery_id AS ingested_delivery_id,
  d.row_count AS delivered_rows,
  i.row_count AS ingested_rows,
  COALESCE(q.row_count, 0) AS quarantined_rows,
  COALESCE(i.row_count, 0) + COALESCE(q.row_count, 0) - COALESCE(d.row_count, 0) AS row_difference,
  d.cost_usd AS delivered_usd,
  i.cost_usd AS ingested_usd,
  COALESCE(i.cost_usd, 0) + COALESCE(q.cost_usd, 0) - COALESCE(d.cost_usd, 0) AS cost_difference_usd
FROM delivered AS d
FULL OUTER JOIN ingested AS i
  ON i.source_id = d.source_id
LEFT JOIN quarantined AS q
  ON q.source_id = COALESCE(d.source_id, i.source_id)
ORDER BY
  1;

-- diagnostics/latest_partition
WITH usage_lines AS (
  SELECT
    delivery_id,
    MAX(CASE WHEN line_item_line_item_type = 'Usage' THEN line_item_usage_start_date END) AS newest_usage_ts,
    MAX(line_item_usage_start_date) AS newest_line_ts
  FROM cur_billing_master
  GROUP BY
    1
), last_attempts AS (
  SELECT
    source_id,
    period_start,
    MAX(log_seq) AS log_seq
  FROM cur_ingestion_log
  GROUP BY
    1,
    2
)
SELECT
  h.source_id,
  h.period_start,
  u.newest_usage_ts,
  u.newest_line_ts,
  d.delivered_at,
  d.invoice_state,
  l.status AS last_ingestion,
  l.error_code,
  l.finished_at
FROM cur_billing_head AS h
INNER JOIN cur_delivery AS d
  ON d.delivery_id = h.delivery_id
LEFT JOIN usage_lines AS u
  ON u.delivery_id = h.delivery_id
LEFT JOIN last_attempts AS a
  ON a.source_id = h.source_id AND a.period_start = h.period_start
LEFT JOIN cur_ingestion_log AS l
  ON l.log_seq = a.log_seq
ORDER BY
  h.period_start DESC,
  h.source_id;

-- diagnostics/pool_vs_allocated
WITH pool AS (
  SELECT
    period_start,
    product_servicecode AS service,
    charge_class,
    SUM(line_item_unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
  FROM fact_cost_raw
  WHERE
    period_start BETWEEN :start AND :end
  GROUP BY
    1,
    2,
    3
), allocated AS (
  SELECT
    period_start,
    service,
    charge_class,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd,
    SUM(CASE WHEN tenant_id = '__unallocated__' THEN allocated_cost_usd ELSE 0 END) AS unallocated_usd
  FROM fact_cost_allocated
  WHERE
    period_start BETWEEN :start AND :end
  GROUP BY
    1,
    2,
    3
)
SELECT
  COALESCE(p.period_start, a.period_start) AS period_start,
  COALESCE(p.service, a.service) AS service,
  COALESCE(p.charge_class, a.charge_class) AS charge_class,
  COALESCE(p.unblended_usd, 0) AS pool_usd,
  COALESCE(a.unblended_usd, 0) AS allocated_usd,
  COALESCE(a.unallocated_usd, 0) AS of_it_unallocated_usd,
  COALESCE(a.unblended_usd, 0) - COALESCE(p.unblended_usd, 0) AS unblended_difference_usd,
  COALESCE(a.amortized_usd, 0) - COALESCE(p.amortized_usd, 0) AS amortized_difference_usd,
  COALESCE(a.net_amortized_usd, 0) - COALESCE(p.net_amortized_usd, 0) AS net_amortized_difference_usd
FROM pool AS p
FULL OUTER JOIN allocated AS a
  ON a.period_start = p.period_start
  AND a.service = p.service
  AND a.charge_class = p.charge_class
ORDER BY
  1,
  2,
  3;

-- diagnostics/projected_overrun
SELECT
  budget_id,
  scope_type,
  scope_value,
  period_start,
  basis,
  target_usd,
  actual_usd,
  target_usd - actual_usd AS left_usd,
  forecast_usd,
  target_usd - forecast_usd AS left_at_month_end_usd,
  level,
  last_refreshed_at
FROM budget_master
ORDER BY
  CASE level WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END,
  left_usd,
  budget_id;

-- diagnostics/schema_diff
WITH deliveries AS (
  SELECT
    h.period_start,
    h.source_id,
    d.columns_json
  FROM cur_billing_head AS h
  INNER JOIN cur_delivery AS d
    ON d.delivery_id = h.delivery_id
  WHERE
    h.period_start BETWEEN :start AND :end
), seen_columns AS (
  SELECT
    column_name
  FROM information_schema.columns
  WHERE
    table_name = 'cur_billing_master'
)
SELECT
  d.period_start,
  d.source_id,
  s.column_name,
  'unexpected: kept, appended nullable' AS difference,
  FALSE AS required
FROM deliveries AS d
CROSS JOIN seen_columns AS s
LEFT JOIN expected_cur_schema_vn AS e
  ON e.column_name = s.column_name
WHERE
  e.column_name IS NULL AND STRPOS(d.columns_json, '"' || s.column_name || '"') > 0
UNION ALL
SELECT
  d.period_start,
  d.source_id,
  e.column_name,
  'not delivered: read as NULL' AS difference,
  e.required
FROM deliveries AS d
CROSS JOIN expected_cur_schema_vn AS e
WHERE
  NOT e.column_name IN ('source_id', 'delivery_id')
  AND STRPOS(d.columns_json, '"' || e.column_name || '"') = 0
ORDER BY
  1,
  2,
  4 DESC,
  3;

-- diagnostics/tenant_drill
WITH allocated AS (
  SELECT
    period_start,
    tenant_id,
    SUM(allocated_cost_usd) AS allocated_usd
  FROM fact_cost_allocated
  WHERE
    period_start BETWEEN :start AND :end
  GROUP BY
    1,
    2
), invoiced AS (
  SELECT
    period_start,
    tenant_id,
    COUNT(*) AS document_count,
    SUM(amount_usd) AS invoiced_usd
  FROM invoice_detail
  WHERE
    period_start BETWEEN :start AND :end
  GROUP BY
    1,
    2
), both_sides AS (
  SELECT
    COALESCE(a.period_start, i.period_start) AS period_start,
    COALESCE(a.tenant_id, i.tenant_id) AS tenant_id,
    COALESCE(a.allocated_usd, 0) AS allocated_usd,
    COALESCE(i.invoiced_usd, 0) AS invoiced_usd,
    COALESCE(i.document_count, 0) AS document_count
  FROM allocated AS a
  FULL OUTER JOIN invoiced AS i
    ON i.period_start = a.period_start AND i.tenant_id = a.tenant_id
)
SELECT
  b.period_start,
  b.tenant_id,
  b.allocated_usd,
  b.invoiced_usd,
  b.document_count,
  b.invoiced_usd - b.allocated_usd AS invoiced_less_allocated_usd,
  r.basis_difference_usd,
  r.markup_usd,
  r.expected_usd,
  r.variance_usd,
  r.failure_tolerance_usd,
  r.status
FROM both_sides AS b
LEFT JOIN recon_tenant AS r
  ON r.period_start = b.period_start AND r.tenant_id = b.tenant_id
ORDER BY
  b.period_start DESC,
  r.variance_usd DESC,
  b.tenant_id;

-- diagnostics/untagged_by_service
SELECT
  period_start,
  service,
  service_component,
  usage_account_id,
  CAST(SUM(positive_line_count) AS BIGINT) AS line_count,
  SUM(positive_unblended_cost) AS incomplete_usd,
  SUM(CASE WHEN tenant_id IS NULL THEN positive_unblended_cost ELSE 0 END) AS without_tenant_usd,
  SUM(CASE WHEN NOT tenant_tag IS NULL THEN positive_unblended_cost ELSE 0 END) AS unknown_tenant_usd,
  SUM(CASE WHEN tag_source = 'mapping' THEN positive_unblended_cost ELSE 0 END) AS named_by_account_usd,
  SUM(CASE WHEN tag_source = 'resource' THEN positive_unblended_cost ELSE 0 END) AS without_plan_usd
FROM fact_cost_tagged
WHERE
  period_start BETWEEN :start AND :end
  AND charge_class = 'usage'
  AND NOT is_tag_complete
GROUP BY
  1,
  2,
  3,
  4
HAVING
  SUM(positive_line_count) > 0
ORDER BY
  1,
  6 DESC,
  2,
  3,
  4;

-- diagnostics/untagged_cost
SELECT
  period_start,
  charge_class,
  CAST(SUM(line_count) AS BIGINT) AS line_count,
  SUM(unblended_cost) AS untagged_usd,
  SUM(CASE WHEN NOT tenant_tag IS NULL THEN unblended_cost ELSE 0 END) AS unknown_tenant_usd,
  SUM(amortized_cost) AS untagged_amortized_usd
FROM fact_cost_tagged
WHERE
  period_start BETWEEN :start AND :end AND tenant_id IS NULL
GROUP BY
  1,
  2
ORDER BY
  1,
  4 DESC,
  2;

-- diagnostics/variance_trend
SELECT
  r.tenant_id,
  r.period_start,
  r.expected_usd,
  r.invoiced_usd,
  r.variance_usd,
  r.variance_pct,
  r.status,
  COUNT(*) OVER (PARTITION BY r.tenant_id) AS months_off
FROM recon_tenant AS r
WHERE
  r.period_start BETWEEN :start AND :end AND r.status <> 'ok'
ORDER BY
  months_off DESC,
  r.tenant_id,
  r.period_start DESC;

-- fetch_adjustments_by_service
SELECT
  tenant_id,
  plan_id,
  service,
  usage_period_start,
  SUM(allocated_cost_usd) AS unblended_usd,
  SUM(allocated_amortized_cost_usd) AS amortized_usd,
  SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM fact_cost_adjustment
WHERE
  period_start = :period_start
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  1,
  2,
  3,
  4;

-- fetch_adjustments_by_tenant
SELECT
  tenant_id,
  plan_id,
  SUM(allocated_cost_usd) AS unblended_usd,
  SUM(allocated_amortized_cost_usd) AS amortized_usd,
  SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM fact_cost_adjustment
WHERE
  period_start = :period_start
GROUP BY
  1,
  2
ORDER BY
  1,
  2;

-- fetch_allocated_by_scope
SELECT
  CASE
    WHEN GROUPING(tenant_id) = 0
    THEN 'tenant'
    WHEN GROUPING(plan_id) = 0
    THEN 'plan'
    WHEN GROUPING(service) = 0
    THEN 'service'
    WHEN GROUPING(service_component) = 0
    THEN 'component'
    ELSE 'total'
  END AS scope_type,
  COALESCE(tenant_id, plan_id, service, service_component) AS scope_value,
  SUM(allocated_cost_usd) AS unblended_usd,
  SUM(allocated_amortized_cost_usd) AS amortized_usd,
  SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd,
  SUM(CASE WHEN charge_class = 'usage' THEN allocated_cost_usd ELSE 0 END) AS usage_unblended_usd,
  SUM(CASE WHEN charge_class = 'usage' THEN allocated_amortized_cost_usd ELSE 0 END) AS usage_amortized_usd,
  SUM(
    CASE WHEN charge_class = 'usage' THEN allocated_net_amortized_cost_usd ELSE 0 END
  ) AS usage_net_amortized_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start
GROUP BY
  GROUPING SETS (
    (),
    (
      tenant_id
    ),
    (
      plan_id
    ),
    (
      service
    ),
    (
      service_component
    )
  )
HAVING
  COUNT(*) > 0;

-- fetch_allocated_by_service
SELECT
  tenant_id,
  plan_id,
  service,
  allocation_method,
  SUM(allocated_cost_usd) AS unblended_usd,
  SUM(allocated_amortized_cost_usd) AS amortized_usd,
  SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd,
  SUM(
    CASE
      WHEN charge_class = 'commitment_fee'
      THEN allocated_amortized_cost_usd
      ELSE 0
    END
  ) AS unused_usd,
  SUM(
    CASE
      WHEN charge_class = 'commitment_fee'
      THEN allocated_net_amortized_cost_usd
      ELSE 0
    END
  ) AS net_unused_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  1,
  2,
  3,
  4;

-- fetch_allocated_by_tenant
SELECT
  tenant_id,
  plan_id,
  allocation_method,
  charge_class,
  SUM(allocated_cost_usd) AS unblended_usd,
  SUM(allocated_amortized_cost_usd) AS amortized_usd,
  SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  1,
  2,
  3,
  4;

-- fetch_billed_accounts
SELECT DISTINCT
  source_id,
  line_item_usage_account_id AS usage_account_id,
  NULLIF(bill_payer_account_id, '') AS payer_account_id
FROM measured_lines
WHERE
  quarantine_code IS NULL;

-- fetch_booked_of_tenant
SELECT
  a.entry_id,
  a.usage_period_start,
  a.service,
  a.service_component,
  a.charge_class,
  a.reason,
  a.allocated_cost_usd,
  a.allocated_amortized_cost_usd,
  a.allocated_net_amortized_cost_usd
FROM fact_cost_adjustment AS a
WHERE
  a.period_start = :period_start AND a.tenant_id = :tenant_id
ORDER BY
  a.usage_period_start,
  a.service,
  a.entry_id;

-- fetch_commitment_use
SELECT
  COALESCE(NULLIF(l.savings_plan_savings_plan_a_r_n, ''), l.reservation_reservation_a_r_n) AS commitment,
  l.commitment_line IN ('SavingsPlanRecurringFee', 'RIFee') AS is_fee,
  l.product_servicecode AS service,
  o.tenant_id,
  SUM(l.amortized_cost) AS amortized_usd,
  SUM(
    CASE
      WHEN l.commitment_line IN ('SavingsPlanRecurringFee', 'RIFee')
      THEN l.line_item_unblended_cost - l.true_up_cost
      ELSE 0
    END
  ) AS billed_usd,
  SUM(
    CASE l.commitment_line
      WHEN 'SavingsPlanCoveredUsage'
      THEN COALESCE(l.pricing_public_on_demand_cost, l.line_item_unblended_cost)
      WHEN 'DiscountedUsage'
      THEN COALESCE(l.pricing_public_on_demand_cost, 0)
      ELSE 0
    END
  ) AS on_demand_usd
FROM single_cost_lines AS l
LEFT JOIN resource_tenants AS r
  ON r.resource_id = l.untagged_resource
LEFT JOIN line_owners AS o
  ON o.usage_slice = l.usage_slice
  AND (
    COALESCE(CAST(o.account_id AS VARCHAR), '') = COALESCE(CAST(l.line_item_usage_account_id AS VARCHAR), '')
    AND (
      o.account_id IS NULL
    ) = (
      l.line_item_usage_account_id IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.component_tag AS VARCHAR), '') = COALESCE(CAST(l.component_tag AS VARCHAR), '')
    AND (
      o.component_tag IS NULL
    ) = (
      l.component_tag IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.resource_tenant AS VARCHAR), '') = COALESCE(CAST(l.resource_tenant AS VARCHAR), '')
    AND (
      o.resource_tenant IS NULL
    ) = (
      l.resource_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.account_tenant AS VARCHAR), '') = COALESCE(CAST(l.account_tenant AS VARCHAR), '')
    AND (
      o.account_tenant IS NULL
    ) = (
      l.account_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.category_tenant AS VARCHAR), '') = COALESCE(CAST(l.category_tenant AS VARCHAR), '')
    AND (
      o.category_tenant IS NULL
    ) = (
      l.category_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.inherited_tenant AS VARCHAR), '') = COALESCE(CAST(r.inherited_tenant AS VARCHAR), '')
    AND (
      o.inherited_tenant IS NULL
    ) = (
      r.inherited_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.resource_plan AS VARCHAR), '') = COALESCE(CAST(l.resource_plan AS VARCHAR), '')
    AND (
      o.resource_plan IS NULL
    ) = (
      l.resource_plan IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.account_plan AS VARCHAR), '') = COALESCE(CAST(l.account_plan AS VARCHAR), '')
    AND (
      o.account_plan IS NULL
    ) = (
      l.account_plan IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.category_plan AS VARCHAR), '') = COALESCE(CAST(l.category_plan AS VARCHAR), '')
    AND (
      o.category_plan IS NULL
    ) = (
      l.category_plan IS NULL
    )
  )
WHERE
  l.period_start = :period_start
  AND l.line_item_line_item_type IN ('SavingsPlanCoveredUsage', 'DiscountedUsage', 'SavingsPlanRecurringFee', 'RIFee')
  AND NOT l.commitment_line IS NULL
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  1,
  2,
  3,
  4;

-- fetch_conservation
WITH pool AS (
  SELECT
    service,
    charge_class,
    SUM(unblended_usd) AS unblended_usd,
    SUM(amortized_usd) AS amortized_usd,
    SUM(net_amortized_usd) AS net_amortized_usd
  FROM line_pool
  GROUP BY
    1,
    2
), allocated AS (
  SELECT
    service,
    charge_class,
    SUM(allocated_cost_usd) AS unblended_usd,
    SUM(allocated_amortized_cost_usd) AS amortized_usd,
    SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
  FROM fact_cost_allocated
  WHERE
    period_start = :period_start
  GROUP BY
    1,
    2
)
SELECT
  COALESCE(p.service, a.service) AS service,
  COALESCE(p.charge_class, a.charge_class) AS charge_class,
  COALESCE(p.unblended_usd, 0) AS pool_unblended_usd,
  COALESCE(p.amortized_usd, 0) AS pool_amortized_usd,
  COALESCE(p.net_amortized_usd, 0) AS pool_net_amortized_usd,
  COALESCE(a.unblended_usd, 0) - COALESCE(p.unblended_usd, 0) AS unblended_difference_usd,
  COALESCE(a.amortized_usd, 0) - COALESCE(p.amortized_usd, 0) AS amortized_difference_usd,
  COALESCE(a.net_amortized_usd, 0) - COALESCE(p.net_amortized_usd, 0) AS net_amortized_difference_usd
FROM pool AS p
FULL OUTER JOIN allocated AS a
  ON a.service = p.service AND a.charge_class = p.charge_class
ORDER BY
  1,
  2;

-- fetch_cost_by_account
SELECT
  'account' AS scope_type,
  line_item_usage_account_id AS scope_value,
  SUM(line_item_unblended_cost) AS unblended_usd,
  SUM(amortized_cost) AS amortized_usd,
  SUM(net_amortized_cost) AS net_amortized_usd,
  SUM(
    CASE
      WHEN line_item_line_item_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation')
      THEN line_item_unblended_cost
      ELSE 0
    END
  ) AS usage_unblended_usd,
  SUM(
    CASE
      WHEN line_item_line_item_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation')
      THEN amortized_cost
      ELSE 0
    END
  ) AS usage_amortized_usd,
  SUM(
    CASE
      WHEN line_item_line_item_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation')
      THEN net_amortized_cost
      ELSE 0
    END
  ) AS usage_net_amortized_usd
FROM alike_lines
WHERE
  period_start = :period_start
GROUP BY
  2
ORDER BY
  2;

-- fetch_cost_by_invoice
WITH amounts AS (
  SELECT
    source_id,
    COALESCE(bill_invoice_id, '') AS invoice_id,
    CASE WHEN line_item_line_item_type = 'Tax' THEN 1 ELSE 0 END AS is_tax,
    line_item_usage_account_id,
    product_servicecode,
    MIN(bill_payer_account_id) AS payer_account_id,
    SUM(net_unblended_cost) AS cost_usd
  FROM alike_lines
  WHERE
    period_start = :period_start
  GROUP BY
    1,
    2,
    3,
    4,
    5
)
SELECT
  source_id,
  invoice_id,
  MIN(payer_account_id) AS payer_account_id,
  SUM(CASE WHEN is_tax = 1 THEN 0 ELSE cost_usd END) AS before_tax_usd,
  SUM(CASE WHEN is_tax = 1 THEN cost_usd ELSE 0 END) AS tax_usd,
  CAST(SUM(CASE WHEN is_tax = 0 AND cost_usd <> 0 THEN 1 ELSE 0 END) AS BIGINT) AS amounts_before_tax,
  CAST(SUM(CASE WHEN is_tax = 1 AND cost_usd <> 0 THEN 1 ELSE 0 END) AS BIGINT) AS amounts_tax
FROM amounts
GROUP BY
  1,
  2
ORDER BY
  1,
  2;

-- fetch_cost_by_plan
SELECT
  tenant_id,
  plan_id,
  plan_tag,
  SUM(unblended_cost) AS unblended_usd,
  SUM(amortized_cost) AS amortized_usd,
  SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start
GROUP BY
  1,
  2,
  3
ORDER BY
  1,
  2,
  3;

-- fetch_direct_cost
SELECT
  service,
  tenant_id,
  SUM(unblended_cost) AS unblended_usd,
  SUM(amortized_cost) AS amortized_usd,
  SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start
  AND NOT tenant_id IN ('__operator__', '__unallocated__')
GROUP BY
  1,
  2
ORDER BY
  1,
  2;

-- fetch_entries
SELECT
  e.entry_id,
  e.run_id,
  e.period_start,
  e.service,
  e.service_component,
  e.charge_class,
  e.tenant_id,
  e.plan_id,
  e.allocation_method,
  e.rule_id,
  e.rule_version,
  e.key_name,
  e.key_value,
  e.key_total,
  e.pool_cost_usd,
  e.allocated_cost_usd,
  e.allocated_amortized_cost_usd,
  e.allocated_net_amortized_cost_usd,
  e.delivery_id
FROM fact_cost_allocated AS e
WHERE
  e.entry_type = 'allocation'
  AND e.period_start = :period_start
  AND (
    :entry_id = '' OR e.entry_id = :entry_id
  )
  AND (
    :entry_id <> '' OR e.run_id = :head_run_id
  )
  AND (
    :tenant_id = '' OR e.tenant_id = :tenant_id
  )
  AND (
    :service = '' OR e.service = :service
  )
ORDER BY
  ABS(e.allocated_cost_usd) DESC,
  e.entry_id;

-- fetch_fee_bearers
SELECT
  service,
  tenant_id,
  SUM(allocated_amortized_cost_usd) AS borne_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start AND charge_class = 'commitment_fee'
GROUP BY
  1,
  2
HAVING
  SUM(allocated_amortized_cost_usd) > 0
ORDER BY
  1,
  2;

-- fetch_held_tags
SELECT
  key_name,
  SUM(allocated_cost_usd) AS held_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start AND rule_id = '__unknown_tenant__'
GROUP BY
  1
HAVING
  SUM(allocated_cost_usd) <> 0
ORDER BY
  2 DESC,
  1;

-- fetch_line_groups
SELECT
  line_item_usage_account_id AS usage_account_id,
  line_item_line_item_type AS line_type,
  line_item_usage_type AS usage_type,
  resource_tags_user_tenant_id AS tenant_tag,
  COUNT(*) AS line_count,
  SUM(line_item_unblended_cost) AS unblended_usd
FROM fact_cost_raw
WHERE
  period_start = :period_start
  AND product_servicecode = :service
  AND charge_class = :charge_class
  AND (
    :delivery_id = '' OR delivery_id = :delivery_id
  )
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  ABS(SUM(line_item_unblended_cost)) DESC,
  1,
  2,
  3,
  4;

-- fetch_missing_tenant_tags
SELECT
  fix_rank,
  service,
  service_component,
  usage_account_id,
  resource_id,
  tenant_tag,
  line_count,
  missing_usd,
  SUM(missing_usd) OVER () AS total_usd,
  COUNT(*) OVER () AS places
FROM missing_tenant_tags
WHERE
  period_start = :period_start
ORDER BY
  missing_usd DESC,
  service,
  service_component,
  usage_account_id,
  resource_id
LIMIT 20;

-- fetch_on_demand_instances
SELECT
  product_servicecode AS service,
  SUM(line_item_unblended_cost) AS on_demand_usd
FROM fact_cost_raw
WHERE
  period_start = :period_start
  AND line_item_line_item_type = 'Usage'
  AND COALESCE(product_instance_type, '') <> ''
  AND COALESCE(line_item_usage_type, '') NOT LIKE '%Spot%'
  AND line_item_unblended_cost > 0
GROUP BY
  1
ORDER BY
  1;

-- fetch_part_negations
SELECT
  n.negation_key,
  n.group_zone,
  n.group_start,
  n.group_end,
  n.source_id,
  n.delivery_id,
  l.product_servicecode AS service,
  l.line_item_usage_account_id AS account_id,
  l.charge_class,
  l.usage_slice,
  l.component_tag,
  l.resource_tenant,
  l.account_tenant,
  l.category_tenant,
  r.inherited_tenant,
  l.resource_plan,
  l.account_plan,
  l.category_plan,
  l.container_of,
  MIN(n.negated_usd) AS negated_usd,
  MIN(n.negated_net_usd) AS negated_net_usd,
  SUM(l.line_item_unblended_cost) AS covered_usd,
  SUM(l.net_unblended_cost) AS covered_net_usd
FROM hourly_cost_lines AS l
INNER JOIN negations AS n
  ON n.negation_key = l.negation_key
  AND n.negation_zone = l.negation_zone
  AND n.usage_start = l.line_item_usage_start_date
  AND n.usage_end = l.usage_end
LEFT JOIN resource_tenants AS r
  ON r.resource_id = l.untagged_resource
WHERE
  l.period_start = :period_start
  AND n.taken_back = 'part'
  AND l.commitment_line = 'SavingsPlanCoveredUsage'
  AND l.line_item_line_item_type = 'SavingsPlanCoveredUsage'
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
  17,
  18,
  19
ORDER BY
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
  17,
  18,
  19;

-- fetch_pool_by_service
SELECT
  service,
  charge_class,
  SUM(unblended_cost) AS unblended_usd,
  SUM(amortized_cost) AS amortized_usd,
  SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start
GROUP BY
  1,
  2
ORDER BY
  1,
  2;

-- fetch_pools
SELECT
  service,
  service_component,
  charge_class,
  usage_account_id,
  plan_id,
  delivery_id,
  CASE WHEN takes_back = 'commitment_fee' THEN takes_back ELSE charge_class END AS matched_class,
  SUM(unblended_cost) AS unblended_usd,
  SUM(amortized_cost) AS amortized_usd,
  SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start
  AND tenant_id IS NULL
  AND (
    tenant_tag IS NULL OR NOT :holds_unknown
  )
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6,
  7
ORDER BY
  1,
  2,
  3,
  4,
  5,
  6,
  7;

-- fetch_posted_by_grain
WITH posted AS (
  SELECT
    service,
    service_component,
    charge_class,
    tenant_id,
    plan_id,
    allocation_method,
    rule_id,
    rule_version,
    allocated_cost_usd,
    allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd
  FROM fact_cost_allocated
  WHERE
    period_start = :usage_period_start
  UNION ALL
  SELECT
    service,
    service_component,
    charge_class,
    tenant_id,
    plan_id,
    allocation_method,
    rule_id,
    rule_version,
    allocated_cost_usd,
    allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd
  FROM fact_cost_adjustment
  WHERE
    usage_period_start = :usage_period_start
    AND (
      :with_one_time OR reason NOT LIKE 'one_time_rule:%'
    )
)
SELECT
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocation_method,
  rule_id,
  CAST(rule_version AS BIGINT) AS rule_version,
  SUM(allocated_cost_usd) AS unblended_usd,
  SUM(allocated_amortized_cost_usd) AS amortized_usd,
  SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
FROM posted
GROUP BY
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocation_method,
  rule_id,
  rule_version
ORDER BY
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocation_method,
  rule_id,
  rule_version;

-- fetch_quarantined_by_code
SELECT
  quarantine_code,
  COUNT(*) AS row_count,
  COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd
FROM cur_quarantine
WHERE
  period_start = :period_start
GROUP BY
  1
ORDER BY
  2 DESC,
  1;

-- fetch_unclaimed_by_service
SELECT
  service,
  charge_class,
  SUM(allocated_cost_usd) AS unclaimed_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start
  AND tenant_id = '__unallocated__'
  AND (
    rule_id IS NULL OR key_total = 0 OR rule_id = '__unknown_tenant__'
  )
GROUP BY
  1,
  2
ORDER BY
  1,
  2;

-- fetch_usage_by_day
SELECT
  CAST(line_item_usage_start_date AS DATE) AS usage_day,
  SUM(line_item_unblended_cost) AS unblended_usd,
  SUM(amortized_cost) AS amortized_usd,
  SUM(net_amortized_cost) AS net_amortized_usd
FROM alike_lines
WHERE
  period_start = :period_start
  AND line_item_line_item_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation')
  AND line_item_usage_start_date >= CAST(:period_start AS DATE)
  AND line_item_usage_start_date < CAST(:period_end AS DATE)
GROUP BY
  1
ORDER BY
  1;

-- find_matched_values
SELECT DISTINCT
  'service' AS matched_column,
  service AS matched_value
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND NOT service IS NULL
UNION ALL
SELECT DISTINCT
  'service_component',
  service_component
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND NOT service_component IS NULL
UNION ALL
SELECT DISTINCT
  'charge_class',
  charge_class
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND NOT charge_class IS NULL
UNION ALL
SELECT DISTINCT
  'usage_account_id',
  usage_account_id
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND NOT usage_account_id IS NULL
UNION ALL
SELECT DISTINCT
  'plan_id',
  plan_id
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND NOT plan_id IS NULL
ORDER BY
  1,
  2;

-- find_negations
WITH commitment_lines AS (
  SELECT
    l.negation_key,
    l.negation_zone,
    l.line_item_usage_start_date AS usage_start,
    l.usage_end,
    l.commitment_line = 'SavingsPlanNegation' AS is_negation,
    l.source_id,
    l.delivery_id,
    l.line_item_unblended_cost AS unblended_usd,
    l.net_unblended_cost AS net_unblended_usd,
    l.tag_order,
    l.usage_slice,
    l.resource_tenant,
    l.account_tenant,
    l.category_tenant,
    r.inherited_tenant,
    l.resource_plan,
    l.account_plan,
    l.category_plan,
    l.component_tag
  FROM hourly_cost_lines AS l
  LEFT JOIN resource_tenants AS r
    ON r.resource_id = l.untagged_resource
  WHERE
    l.period_start = :period_start
    AND NOT l.negation_key IS NULL
    AND l.line_item_line_item_type IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation')
), spans AS (
  SELECT
    negation_key,
    negation_zone,
    usage_start,
    usage_end,
    COUNT_IF(is_negation) AS negation_count,
    COUNT_IF(NOT is_negation) AS covered_count,
    SUM(CASE WHEN is_negation THEN 0 ELSE unblended_usd END) AS covered_usd,
    SUM(CASE WHEN is_negation THEN 0 ELSE net_unblended_usd END) AS covered_net_usd,
    SUM(CASE WHEN is_negation THEN unblended_usd ELSE 0 END) AS negated_usd,
    SUM(CASE WHEN is_negation THEN net_unblended_usd ELSE 0 END) AS negated_net_usd,
    MIN(CASE WHEN is_negation THEN source_id END) AS source_id,
    MIN(CASE WHEN is_negation THEN delivery_id END) AS delivery_id,
    MIN(CASE WHEN is_negation THEN NULL ELSE tag_order END) AS tag_order,
    MIN_BY(
      CAST(ROW(
        usage_slice,
        resource_tenant,
        account_tenant,
        category_tenant,
        inherited_tenant,
        resource_plan,
        account_plan,
        category_plan,
        component_tag
      ) AS ROW(
        usage_slice DATE,
        resource_tenant VARCHAR,
        account_tenant VARCHAR,
        category_tenant VARCHAR,
        inherited_tenant VARCHAR,
        resource_plan VARCHAR,
        account_plan VARCHAR,
        category_plan VARCHAR,
        component_tag VARCHAR
      )),
      CASE WHEN is_negation THEN NULL ELSE tag_order END
    ) AS first_tags
  FROM commitment_lines
  GROUP BY
    1,
    2,
    3,
    4
), wider AS (
  SELECT
    f.negation_key,
    f.negation_zone,
    f.usage_start,
    f.usage_end,
    u.negation_zone AS group_zone,
    u.usage_start AS group_start,
    u.usage_end AS group_end,
    ROW_NUMBER() OVER (
      PARTITION BY f.negation_key, f.negation_zone, f.usage_start, f.usage_end
      ORDER BY u.usage_start DESC, u.usage_end ASC, u.negation_zone DESC
    ) AS choice
  FROM spans AS f
  INNER JOIN spans AS u
    ON u.negation_key = f.negation_key
    AND (
      u.negation_zone = '' OR u.negation_zone = f.negation_zone
    )
    AND u.usage_start <= f.usage_start
    AND u.usage_end >= f.usage_end
  WHERE
    f.negation_count = 0 AND u.covered_count = 0
), members AS (
  SELECT
    negation_key,
    negation_zone,
    usage_start,
    usage_end,
    negation_zone AS group_zone,
    usage_start AS group_start,
    usage_end AS group_end
  FROM spans
  WHERE
    negation_count > 0
  UNION ALL
  SELECT
    negation_key,
    negation_zone,
    usage_start,
    usage_end,
    group_zone,
    group_start,
    group_end
  FROM wider
  WHERE
    choice = 1
), negated AS (
  SELECT
    m.negation_key,
    m.group_zone,
    m.group_start,
    m.group_end,
    SUM(s.covered_count) AS covered_count,
    SUM(s.covered_usd) AS covered_usd,
    SUM(s.covered_net_usd) AS covered_net_usd,
    SUM(s.negated_usd) AS negated_usd,
    SUM(s.negated_net_usd) AS negated_net_usd,
    MIN(s.source_id) AS source_id,
    MIN(s.delivery_id) AS delivery_id,
    MIN_BY(s.first_tags, s.tag_order) AS first_tags
  FROM members AS m
  INNER JOIN spans AS s
    ON s.negation_key = m.negation_key
    AND s.negation_zone = m.negation_zone
    AND s.usage_start = m.usage_start
    AND s.usage_end = m.usage_end
  GROUP BY
    1,
    2,
    3,
    4
), judged AS (
  SELECT
    n.*,
    CASE
      WHEN ABS(covered_usd + negated_usd) <= 0.000001
      THEN 'whole'
      WHEN covered_usd > 0 AND negated_usd < 0 AND covered_usd + negated_usd > 0
      THEN 'part'
      WHEN covered_usd < 0 AND negated_usd > 0 AND covered_usd + negated_usd < 0
      THEN 'part'
      WHEN covered_usd > 0 AND negated_usd < 0
      THEN 'over'
      WHEN covered_usd < 0 AND negated_usd > 0
      THEN 'over'
      ELSE 'alone'
    END AS taken_back
  FROM negated AS n
  WHERE
    covered_count > 0
)
SELECT
  m.negation_key,
  m.negation_zone,
  m.usage_start,
  m.usage_end,
  (
    m.negation_zone = m.group_zone
    AND m.usage_start = m.group_start
    AND m.usage_end = m.group_end
  ) AS is_group,
  m.group_zone,
  m.group_start,
  m.group_end,
  j.taken_back,
  j.source_id,
  j.delivery_id,
  j.negated_usd,
  j.negated_net_usd,
  j.covered_usd + j.negated_usd AS rest_usd,
  j.covered_net_usd + j.negated_net_usd AS rest_net_usd,
  j.first_tags.usage_slice,
  j.first_tags.resource_tenant,
  j.first_tags.account_tenant,
  j.first_tags.category_tenant,
  j.first_tags.inherited_tenant,
  j.first_tags.resource_plan,
  j.first_tags.account_plan,
  j.first_tags.category_plan,
  j.first_tags.component_tag
FROM members AS m
INNER JOIN judged AS j
  ON j.negation_key = m.negation_key
  AND j.group_zone = m.group_zone
  AND j.group_start = m.group_start
  AND j.group_end = m.group_end
WHERE
  j.taken_back <> 'alone';

-- find_resource_tenants
SELECT
  l.resource_id,
  MIN(l.tenant_tag) AS inherited_tenant
FROM named_lines AS l
INNER JOIN untagged_resources AS u
  ON u.resource_id = l.resource_id
WHERE
  NOT l.tenant_tag IS NULL
GROUP BY
  1
HAVING
  MIN(l.tenant_tag) = MAX(l.tenant_tag);

-- find_unfollowed
SELECT
  takes_back,
  service,
  charge_class,
  usage_account_id,
  CAST(SUM(line_count) AS BIGINT) AS line_count,
  SUM(unblended_cost) AS unblended_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start
  AND (
    takes_back = 'usage' OR (
      takes_back = 'resource' AND tenant_id IS NULL
    )
  )
GROUP BY
  1,
  2,
  3,
  4
HAVING
  SUM(unblended_cost) <> 0
ORDER BY
  6,
  1,
  2,
  3,
  4;

-- find_unknown_tenants
SELECT
  tenant_tag,
  CAST(SUM(line_count) AS BIGINT) AS line_count,
  SUM(unblended_cost) AS unblended_usd,
  SUM(CASE WHEN tenant_id IS NULL THEN unblended_cost ELSE 0 END) AS pooled_unblended_usd,
  SUM(CASE WHEN tenant_id IS NULL THEN amortized_cost ELSE 0 END) AS pooled_amortized_usd,
  SUM(CASE WHEN tenant_id IS NULL THEN net_amortized_cost ELSE 0 END) AS pooled_net_amortized_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND NOT tenant_tag IS NULL
GROUP BY
  1
ORDER BY
  3 DESC,
  1;

-- find_unsplit_containers
WITH hours AS (
  SELECT
    parent_id,
    span_start,
    MAX(fault) AS fault,
    SUM(used_usd) + SUM(unused_usd) AS split_usd
  FROM container_rows
  GROUP BY
    1,
    2
), instances AS (
  SELECT DISTINCT
    line_item_resource_id AS parent_id,
    line_item_usage_start_date AS span_start
  FROM split_lines
  WHERE
    COALESCE(split_line_item_parent_resource_id, '') = ''
    AND line_item_resource_id IN (
      SELECT
        parent_id
      FROM hours
    )
), judged AS (
  SELECT
    CASE
      WHEN i.parent_id IS NULL
      THEN 'no_parent'
      WHEN NOT h.fault IS NULL
      THEN h.fault
      WHEN h.split_usd <= 0
      THEN 'no_figures'
    END AS fault,
    h.split_usd
  FROM hours AS h
  LEFT JOIN instances AS i
    ON i.parent_id = h.parent_id AND i.span_start = h.span_start
), named AS (
  SELECT
    line_item_resource_id AS pod_id,
    SUM(
      COALESCE(split_line_item_split_cost, 0) + COALESCE(split_line_item_unused_cost, 0)
    ) AS split_usd
  FROM split_lines
  WHERE
    split_line_item_parent_resource_id <> '' AND line_item_resource_id <> ''
  GROUP BY
    1
  HAVING
    MIN(REGEXP_REPLACE(tenant_tag, '\A\p{Zs}+|\p{Zs}+\z', '')) <> MAX(REGEXP_REPLACE(tenant_tag, '\A\p{Zs}+|\p{Zs}+\z', ''))
)
SELECT
  fault,
  COUNT(*) AS found,
  SUM(split_usd) AS split_usd
FROM judged
WHERE
  NOT fault IS NULL
GROUP BY
  1
UNION ALL
SELECT
  'two_tenants',
  COUNT(*),
  SUM(split_usd)
FROM named
HAVING
  COUNT(*) > 0
UNION ALL
SELECT
  'no_column',
  COUNT(*),
  SUM(
    COALESCE(split_line_item_split_cost, 0) + COALESCE(split_line_item_unused_cost, 0)
  )
FROM split_lines
WHERE
  line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2')
  AND COALESCE(split_line_item_parent_resource_id, '') = ''
HAVING
  COUNT(*) > 0
ORDER BY
  1;

-- find_untagged_resources
SELECT DISTINCT
  untagged_resource AS resource_id
FROM named_lines
WHERE
  NOT untagged_resource IS NULL;

-- focus_adjustments
SELECT
  *
FROM fact_cost_adjustment
WHERE
  period_start = :period_start
ORDER BY
  entry_id;

-- focus_commitments
SELECT
  CASE
    WHEN savings_plan_savings_plan_a_r_n <> ''
    THEN savings_plan_savings_plan_a_r_n
    ELSE reservation_reservation_a_r_n
  END AS arn,
  MAX(CASE WHEN savings_plan_savings_plan_a_r_n <> '' THEN 1 ELSE 0 END) AS is_plan,
  MIN(NULLIF(COALESCE(savings_plan_start_time, reservation_start_time), '')) AS begins,
  MAX(NULLIF(COALESCE(savings_plan_end_time, reservation_end_time), '')) AS ends,
  MIN(NULLIF(savings_plan_offering_type, '')) AS offering,
  MIN(NULLIF(COALESCE(savings_plan_payment_option, pricing_purchase_option), '')) AS payment,
  MIN(NULLIF(COALESCE(savings_plan_purchase_term, pricing_lease_contract_length), '')) AS term
FROM owned_lines
WHERE
  line_item_line_item_type IN ('RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee', 'Fee')
  AND (
    savings_plan_savings_plan_a_r_n <> '' OR reservation_reservation_a_r_n <> ''
  )
GROUP BY
  1
ORDER BY
  1;

-- focus_difference
WITH posted AS (
  SELECT
    entry_id,
    allocated_cost_usd AS billed_usd,
    allocated_amortized_cost_usd AS effective_usd,
    allocated_net_amortized_cost_usd AS net_effective_usd
  FROM fact_cost_allocated
  WHERE
    period_start = :period_start AND run_id = :run_id AND entry_type = 'allocation'
  UNION ALL
  SELECT
    entry_id,
    allocated_cost_usd,
    allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd
  FROM fact_cost_adjustment
  WHERE
    period_start = :period_start
), charged AS (
  SELECT
    entry_id,
    SUM(billed_usd) AS billed_usd,
    SUM(effective_usd) AS effective_usd,
    SUM(net_effective_usd) AS net_effective_usd
  FROM focus_charges
  GROUP BY
    1
)
SELECT
  COALESCE(p.entry_id, c.entry_id) AS entry_id,
  p.billed_usd,
  c.billed_usd AS charged_usd
FROM posted AS p
FULL OUTER JOIN charged AS c
  ON c.entry_id = p.entry_id
WHERE
  p.billed_usd IS DISTINCT FROM c.billed_usd
  OR p.effective_usd IS DISTINCT FROM c.effective_usd
  OR p.net_effective_usd IS DISTINCT FROM c.net_effective_usd
ORDER BY
  1;

-- focus_entries_direct
SELECT
  *
FROM fact_cost_allocated
WHERE
  period_start = :period_start
  AND run_id = :run_id
  AND entry_type = 'allocation'
  AND allocation_method = 'direct'
ORDER BY
  entry_id;

-- focus_entries_shared
SELECT
  *
FROM fact_cost_allocated
WHERE
  period_start = :period_start
  AND run_id = :run_id
  AND entry_type = 'allocation'
  AND allocation_method <> 'direct'
ORDER BY
  rule_id,
  rule_version,
  service,
  service_component,
  charge_class,
  delivery_id,
  key_name,
  key_total,
  pool_cost_usd,
  tenant_id,
  key_value,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  entry_id;

-- focus_invoice_sums
SELECT
  invoice_detail_id,
  invoice_id,
  billing_account_id,
  billing_currency,
  charge_category,
  SUM(billed_usd) AS billed_usd
FROM focus_charges
WHERE
  NOT invoice_detail_id IS NULL
GROUP BY
  1,
  2,
  3,
  4,
  5
ORDER BY
  1,
  2,
  3,
  4,
  5;

-- focus_leftovers
SELECT
  e.entry_id,
  SUM(g.unblended_cost) AS billed_usd
FROM tag_groups AS g
INNER JOIN line_owners AS o
  ON o.usage_slice = g.usage_slice
  AND (
    COALESCE(CAST(o.account_id AS VARCHAR), '') = COALESCE(CAST(g.account_id AS VARCHAR), '')
    AND (
      o.account_id IS NULL
    ) = (
      g.account_id IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.component_tag AS VARCHAR), '') = COALESCE(CAST(g.component_tag AS VARCHAR), '')
    AND (
      o.component_tag IS NULL
    ) = (
      g.component_tag IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.resource_tenant AS VARCHAR), '') = COALESCE(CAST(g.resource_tenant AS VARCHAR), '')
    AND (
      o.resource_tenant IS NULL
    ) = (
      g.resource_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.account_tenant AS VARCHAR), '') = COALESCE(CAST(g.account_tenant AS VARCHAR), '')
    AND (
      o.account_tenant IS NULL
    ) = (
      g.account_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.category_tenant AS VARCHAR), '') = COALESCE(CAST(g.category_tenant AS VARCHAR), '')
    AND (
      o.category_tenant IS NULL
    ) = (
      g.category_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.inherited_tenant AS VARCHAR), '') = COALESCE(CAST(g.inherited_tenant AS VARCHAR), '')
    AND (
      o.inherited_tenant IS NULL
    ) = (
      g.inherited_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.resource_plan AS VARCHAR), '') = COALESCE(CAST(g.resource_plan AS VARCHAR), '')
    AND (
      o.resource_plan IS NULL
    ) = (
      g.resource_plan IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.account_plan AS VARCHAR), '') = COALESCE(CAST(g.account_plan AS VARCHAR), '')
    AND (
      o.account_plan IS NULL
    ) = (
      g.account_plan IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.category_plan AS VARCHAR), '') = COALESCE(CAST(g.category_plan AS VARCHAR), '')
    AND (
      o.category_plan IS NULL
    ) = (
      g.category_plan IS NULL
    )
  )
INNER JOIN direct_entries AS e
  ON e.service = g.service
  AND e.charge_class = g.charge_class
  AND e.tenant_id = o.tenant_id
  AND e.delivery_id = g.delivery_id
  AND (
    COALESCE(CAST(e.service_component AS VARCHAR), '') = COALESCE(CAST(o.service_component AS VARCHAR), '')
    AND (
      e.service_component IS NULL
    ) = (
      o.service_component IS NULL
    )
  )
  AND (
    COALESCE(CAST(e.plan_id AS VARCHAR), '') = COALESCE(CAST(o.plan_id AS VARCHAR), '')
    AND (
      e.plan_id IS NULL
    ) = (
      o.plan_id IS NULL
    )
  )
WHERE
  g.line_count = 0
GROUP BY
  1
ORDER BY
  1;

-- focus_line_sums
SELECT
  x_entry_id AS entry_id,
  CASE
    WHEN COUNT(invoice_id) = COUNT(*) AND MIN(invoice_id) = MAX(invoice_id)
    THEN MIN(invoice_id)
  END AS invoice_id,
  CASE
    WHEN MIN(billing_account_id) = MAX(billing_account_id)
    THEN MIN(billing_account_id)
  END AS payer,
  SUM(billed_cost) AS billed_usd,
  SUM(effective_cost) AS effective_usd,
  SUM(x_net_effective_cost) AS net_effective_usd
FROM focus_direct
GROUP BY
  1
ORDER BY
  1;

-- focus_lines
WITH lines AS (
  SELECT
    e.entry_id,
    l.product_servicecode AS service,
    l.charge_class,
    l.tenant_id,
    l.plan_id,
    l.service_component,
    l.tags,
    l.line_item_line_item_type AS line_type,
    l.commitment_line,
    l.billed_usd,
    l.amortized_cost AS effective_usd,
    l.net_amortized_cost AS net_effective_usd,
    CASE
      WHEN l.commitment_line IN ('DiscountedUsage', 'SavingsPlanCoveredUsage')
      THEN COALESCE(
        NULLIF(l.pricing_public_on_demand_cost, 0),
        NULLIF(l.line_item_unblended_cost, 0),
        l.amortized_cost
      )
      ELSE l.line_item_unblended_cost
    END AS contracted_usd,
    CASE
      WHEN l.line_item_line_item_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')
      THEN NULLIF(l.pricing_public_on_demand_cost, 0)
    END AS list_usd,
    COALESCE(l.line_item_usage_start_date, CAST(l.period_start AS TIMESTAMP(6))) AS begins,
    l.line_item_usage_end_date AS ends,
    NULLIF(REGEXP_REPLACE(l.bill_invoice_id, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS invoice_id,
    NULLIF(REGEXP_REPLACE(l.bill_payer_account_id, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS payer,
    NULLIF(REGEXP_REPLACE(l.bill_payer_account_name, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS payer_name,
    NULLIF(REGEXP_REPLACE(l.line_item_usage_account_id, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS account,
    NULLIF(REGEXP_REPLACE(l.line_item_usage_account_name, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS account_name,
    NULLIF(REGEXP_REPLACE(l.line_item_legal_entity, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS seller,
    NULLIF(REGEXP_REPLACE(l.line_item_line_item_description, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS description,
    COALESCE(
      NULLIF(REGEXP_REPLACE(l.product_region_code, '\A\p{Zs}+|\p{Zs}+\z', ''), ''),
      NULLIF(REGEXP_REPLACE(l.product_region, '\A\p{Zs}+|\p{Zs}+\z', ''), '')
    ) AS region,
    NULLIF(REGEXP_REPLACE(l.line_item_availability_zone, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS zone,
    NULLIF(REGEXP_REPLACE(l.line_item_resource_id, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS resource,
    NULLIF(REGEXP_REPLACE(l.product_product_family, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS family,
    NULLIF(REGEXP_REPLACE(l.line_item_usage_type, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS usage_type,
    NULLIF(REGEXP_REPLACE(l.line_item_operation, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS operation,
    NULLIF(REGEXP_REPLACE(l.pricing_unit, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS unit,
    CAST(l.line_item_usage_amount AS DECIMAL(38, 18)) AS quantity,
    NULLIF(REGEXP_REPLACE(l.savings_plan_savings_plan_a_r_n, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS plan_arn,
    NULLIF(REGEXP_REPLACE(l.reservation_reservation_a_r_n, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS reservation_arn,
    CAST(l.savings_plan_total_commitment_to_date AS DECIMAL(38, 18)) AS committed_usd
  FROM owned_lines AS l
  INNER JOIN direct_entries AS e
    ON e.service = l.product_servicecode
    AND e.charge_class = l.charge_class
    AND e.tenant_id = l.tenant_id
    AND e.delivery_id = l.delivery_id
    AND (
      COALESCE(CAST(e.service_component AS VARCHAR), '') = COALESCE(CAST(l.service_component AS VARCHAR), '')
      AND (
        e.service_component IS NULL
      ) = (
        l.service_component IS NULL
      )
    )
    AND (
      COALESCE(CAST(e.plan_id AS VARCHAR), '') = COALESCE(CAST(l.plan_id AS VARCHAR), '')
      AND (
        e.plan_id IS NULL
      ) = (
        l.plan_id IS NULL
      )
    )
  WHERE
    NOT e.entry_id IN (
      SELECT
        a.entry_id
      FROM entries_apart AS a
    )
), parts AS (
  SELECT
    l.*,
    COALESCE(l.commitment_line, '') IN (
      'RIFee',
      'SavingsPlanRecurringFee',
      'SavingsPlanUpfrontFee',
      'CommitmentUpfrontFee'
    ) AS is_fee,
    FALSE AS is_unused
  FROM lines AS l
  UNION ALL
  SELECT
    l.*,
    TRUE,
    TRUE
  FROM lines AS l
  WHERE
    l.line_type IN ('RIFee', 'SavingsPlanRecurringFee')
    AND (
      l.effective_usd <> 0 OR l.net_effective_usd <> 0
    )
), charges AS (
  SELECT
    p.*,
    CASE
      WHEN p.is_unused
      THEN 'Usage'
      WHEN p.line_type = 'Tax'
      THEN 'Tax'
      WHEN p.line_type = 'Credit' AND p.billed_usd = p.effective_usd
      THEN 'Credit'
      WHEN p.line_type IN ('Credit', 'Refund') OR p.line_type LIKE '%Discount'
      THEN 'Adjustment'
      WHEN p.is_fee OR p.line_type = 'Fee'
      THEN 'Purchase'
      ELSE 'Usage'
    END AS category,
    CASE
      WHEN p.is_fee OR p.commitment_line IN ('DiscountedUsage', 'SavingsPlanCoveredUsage')
      THEN COALESCE(p.plan_arn, p.reservation_arn)
    END AS commitment
  FROM parts AS p
)
SELECT
  CASE WHEN c.is_unused THEN CAST(0 AS DECIMAL(38, 18)) ELSE c.billed_usd END AS billed_cost,
  CASE
    WHEN c.is_fee AND NOT c.is_unused
    THEN CAST(0 AS DECIMAL(38, 18))
    ELSE c.effective_usd
  END AS effective_cost,
  CASE
    WHEN c.is_fee AND NOT c.is_unused
    THEN CAST(0 AS DECIMAL(38, 18))
    ELSE c.effective_usd
  END AS pricing_currency_effective_cost,
  CASE
    WHEN c.is_fee AND NOT c.is_unused
    THEN CAST(0 AS DECIMAL(38, 18))
    ELSE c.net_effective_usd
  END AS x_net_effective_cost,
  CASE
    WHEN c.is_unused
    THEN c.effective_usd
    ELSE COALESCE(c.list_usd, c.contracted_usd)
  END AS list_cost,
  CASE WHEN c.is_unused THEN c.effective_usd ELSE c.contracted_usd END AS contracted_cost,
  COALESCE(c.payer, 'unknown') AS billing_account_id,
  c.payer_name AS billing_account_name,
  c.begins AS charge_period_start,
  CASE WHEN c.ends > c.begins THEN c.ends ELSE c.begins + INTERVAL '1' HOUR END AS charge_period_end,
  c.category AS charge_category,
  COALESCE(
    c.description,
    c.service || ' ' || COALESCE(c.usage_type, c.operation, c.line_type)
  ) AS charge_description,
  CASE
    WHEN c.category = 'Usage'
    THEN 'Usage-Based'
    WHEN c.line_type IN ('RIFee', 'SavingsPlanRecurringFee') OR c.charge_class = 'support'
    THEN 'Recurring'
    ELSE 'One-Time'
  END AS charge_frequency,
  c.invoice_id,
  c.invoice_id || '-' || COALESCE(c.payer, 'unknown') || '-' || c.category AS invoice_detail_id,
  c.seller AS publisher_name,
  s.service_name,
  s.service_category,
  s.service_subcategory,
  c.account AS sub_account_id,
  c.account_name AS sub_account_name,
  c.region AS region_id,
  c.region AS region_name,
  c.zone AS availability_zone,
  CASE WHEN c.is_unused THEN c.commitment ELSE c.resource END AS resource_id,
  CASE
    WHEN c.is_unused
    THEN CASE WHEN NOT c.commitment IS NULL THEN 'Commitment' END
    WHEN NOT c.resource IS NULL
    THEN COALESCE(c.family, s.service_name)
  END AS resource_type,
  c.tags,
  c.commitment AS commitment_discount_id,
  CASE
    WHEN NOT c.commitment IS NULL
    THEN CASE WHEN NOT c.plan_arn IS NULL THEN 'Spend' ELSE 'Usage' END
  END AS commitment_discount_category,
  CASE
    WHEN NOT c.commitment IS NULL
    THEN CASE WHEN NOT c.plan_arn IS NULL THEN 'Savings Plan' ELSE 'Reservation' END
  END AS commitment_discount_type,
  CASE
    WHEN NOT c.commitment IS NULL AND c.category = 'Usage'
    THEN CASE WHEN c.is_unused THEN 'Unused' ELSE 'Used' END
  END AS commitment_discount_status,
  CASE
    WHEN c.commitment IS NULL OR NOT c.category IN ('Usage', 'Purchase')
    THEN NULL
    WHEN c.plan_arn IS NULL
    THEN c.quantity
    WHEN c.category = 'Usage'
    THEN c.effective_usd
    ELSE COALESCE(c.committed_usd, c.billed_usd)
  END AS commitment_discount_quantity,
  CASE
    WHEN c.commitment IS NULL OR NOT c.category IN ('Usage', 'Purchase')
    THEN NULL
    WHEN NOT c.plan_arn IS NULL
    THEN 'USD'
    WHEN NOT c.quantity IS NULL
    THEN (
      CASE
        WHEN LOWER(c.unit) IN ('hrs', 'hour', 'hours')
        THEN 'Hours'
        WHEN LOWER(c.unit) IN ('second', 'seconds')
        THEN 'Seconds'
        WHEN LOWER(c.unit) IN ('day', 'days')
        THEN 'Days'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*-Mo\z')
        THEN SUBSTR(c.unit, 1, LENGTH(c.unit) - 3) || '-Months'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*-Hrs\z')
        THEN SUBSTR(c.unit, 1, LENGTH(c.unit) - 4) || '-Hours'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*-Hour\z')
        THEN SUBSTR(c.unit, 1, LENGTH(c.unit) - 5) || '-Hours'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*( [A-Za-z][A-Za-z0-9]*)*\z')
        THEN c.unit
        ELSE 'Units'
      END
    )
  END AS commitment_discount_unit,
  CASE
    WHEN NOT c.category IN ('Usage', 'Purchase')
    THEN NULL
    WHEN NOT c.commitment IS NULL AND c.category = 'Usage'
    THEN 'Committed'
    ELSE 'Standard'
  END AS pricing_category,
  CASE
    WHEN c.category IN ('Usage', 'Purchase')
    THEN COALESCE(CASE WHEN NOT c.is_unused THEN c.quantity END, 1)
  END AS pricing_quantity,
  CASE
    WHEN NOT c.category IN ('Usage', 'Purchase')
    THEN NULL
    WHEN c.quantity IS NULL OR c.is_unused
    THEN 'Charges'
    ELSE (
      CASE
        WHEN LOWER(c.unit) IN ('hrs', 'hour', 'hours')
        THEN 'Hours'
        WHEN LOWER(c.unit) IN ('second', 'seconds')
        THEN 'Seconds'
        WHEN LOWER(c.unit) IN ('day', 'days')
        THEN 'Days'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*-Mo\z')
        THEN SUBSTR(c.unit, 1, LENGTH(c.unit) - 3) || '-Months'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*-Hrs\z')
        THEN SUBSTR(c.unit, 1, LENGTH(c.unit) - 4) || '-Hours'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*-Hour\z')
        THEN SUBSTR(c.unit, 1, LENGTH(c.unit) - 5) || '-Hours'
        WHEN REGEXP_LIKE(c.unit, '\A[A-Za-z][A-Za-z0-9]*( [A-Za-z][A-Za-z0-9]*)*\z')
        THEN c.unit
        ELSE 'Units'
      END
    )
  END AS pricing_unit,
  CASE WHEN c.category = 'Usage' AND NOT c.is_unused THEN c.quantity END AS x_usage_quantity,
  CASE WHEN c.category = 'Usage' AND NOT c.is_unused THEN c.unit END AS x_usage_unit,
  c.service AS x_service_code,
  c.service_component AS x_service_component,
  c.charge_class AS x_cost_class,
  c.line_type AS x_line_type,
  c.usage_type AS x_usage_type,
  c.operation AS x_operation,
  c.tenant_id AS x_tenant_id,
  c.plan_id AS x_plan_id,
  c.entry_id AS x_entry_id,
  'line' AS x_grain
FROM charges AS c
INNER JOIN focus_services AS s
  ON s.service = c.service AND s.charge_class = c.charge_class;

-- focus_service_costs
SELECT
  service,
  charge_class,
  SUM(ABS(allocated_cost_usd)) AS cost_usd
FROM (
  SELECT
    service,
    charge_class,
    allocated_cost_usd
  FROM fact_cost_allocated
  WHERE
    period_start = :period_start AND run_id = :run_id AND entry_type = 'allocation'
  UNION ALL
  SELECT
    service,
    charge_class,
    allocated_cost_usd
  FROM fact_cost_adjustment
  WHERE
    period_start = :period_start
) AS entries
GROUP BY
  1,
  2
ORDER BY
  1,
  2;

-- gather_entries
SELECT
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  'direct' AS allocation_method,
  CAST(NULL AS VARCHAR) AS rule_id,
  CAST(NULL AS BIGINT) AS rule_version,
  CAST(NULL AS VARCHAR) AS key_name,
  CAST(NULL AS DECIMAL(38, 18)) AS key_value,
  CAST(NULL AS DECIMAL(38, 18)) AS key_total,
  CAST(NULL AS DECIMAL(38, 18)) AS pool_cost_usd,
  SUM(unblended_cost) AS allocated_cost_usd,
  SUM(amortized_cost) AS allocated_amortized_cost_usd,
  SUM(net_amortized_cost) AS allocated_net_amortized_cost_usd,
  delivery_id
FROM fact_cost_tagged
WHERE
  period_start = :period_start
  AND NOT tenant_id IN ('__operator__', '__unallocated__')
GROUP BY
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  delivery_id
UNION ALL
SELECT
  service,
  service_component,
  charge_class,
  '__unallocated__',
  NULL,
  'rule',
  '__unknown_tenant__',
  NULL,
  'tenant_tag:' || tenant_tag,
  NULL,
  NULL,
  SUM(unblended_cost),
  SUM(unblended_cost),
  SUM(amortized_cost),
  SUM(net_amortized_cost),
  delivery_id
FROM fact_cost_tagged
WHERE
  period_start = :period_start
  AND tenant_id IS NULL
  AND NOT tenant_tag IS NULL
  AND :holds_unknown
GROUP BY
  service,
  service_component,
  charge_class,
  tenant_tag,
  delivery_id
UNION ALL
SELECT
  service,
  service_component,
  charge_class,
  tenant_id,
  NULL,
  'rule',
  '__unused_containers__',
  NULL,
  NULL,
  NULL,
  NULL,
  SUM(unblended_cost),
  SUM(unblended_cost),
  SUM(amortized_cost),
  SUM(net_amortized_cost),
  delivery_id
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND tenant_id IN ('__operator__', '__unallocated__')
GROUP BY
  service,
  service_component,
  charge_class,
  tenant_id,
  delivery_id
UNION ALL
SELECT
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  'rule',
  rule_id,
  rule_version,
  key_name,
  key_value,
  key_total,
  pool_cost_usd,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  allocated_net_amortized_cost_usd,
  delivery_id
FROM split_entries;

-- gather_reposted_entries
SELECT
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocation_method,
  rule_id,
  rule_version,
  key_name,
  key_value,
  key_total,
  pool_cost_usd,
  allocated_cost_usd,
  allocated_amortized_cost_usd,
  allocated_net_amortized_cost_usd,
  delivery_id
FROM fact_cost_allocated
WHERE
  period_start = :period_start
  AND run_id = :reposted_run_id
  AND entry_type = 'allocation'
UNION ALL
SELECT
  service,
  service_component,
  charge_class,
  '__unallocated__',
  NULL,
  'rule',
  NULL,
  NULL,
  NULL,
  NULL,
  NULL,
  SUM(allocated_cost_usd),
  SUM(allocated_cost_usd),
  SUM(allocated_amortized_cost_usd),
  SUM(allocated_net_amortized_cost_usd),
  delivery_id
FROM fact_cost_allocated
WHERE
  period_start = :period_start
  AND run_id = :reversed_run_id
  AND entry_type = 'allocation'
  AND :reposted_run_id = ''
GROUP BY
  service,
  service_component,
  charge_class,
  delivery_id;

-- group_lines_by_tags
WITH negated_lines AS (
  SELECT
    l.*,
    r.inherited_tenant,
    COALESCE(NOT n.taken_back IS NULL AND l.commitment_line = 'SavingsPlanNegation', FALSE) AS follows,
    (
      n.taken_back IS NULL
      OR (
        n.taken_back = 'part' AND l.commitment_line = 'SavingsPlanCoveredUsage'
      )
    ) AS costs,
    n.usage_slice AS first_slice,
    n.resource_tenant AS first_resource_tenant,
    n.account_tenant AS first_account_tenant,
    n.category_tenant AS first_category_tenant,
    n.inherited_tenant AS first_inherited_tenant,
    n.resource_plan AS first_resource_plan,
    n.account_plan AS first_account_plan,
    n.category_plan AS first_category_plan,
    n.component_tag AS first_component_tag
  FROM alike_cost_lines AS l
  LEFT JOIN resource_tenants AS r
    ON r.resource_id = l.untagged_resource
  LEFT JOIN negations AS n
    ON n.negation_key = l.negation_key
    AND n.negation_zone = l.negation_zone
    AND n.usage_start = l.line_item_usage_start_date
    AND n.usage_end = l.usage_end
  WHERE
    l.period_start = :period_start
)
SELECT
  period_start,
  source_id,
  delivery_id,
  product_servicecode AS service,
  CASE WHEN follows THEN first_component_tag ELSE component_tag END AS component_tag,
  line_item_usage_account_id AS account_id,
  charge_class,
  CASE WHEN follows THEN first_slice ELSE usage_slice END AS usage_slice,
  CASE WHEN follows THEN first_resource_tenant ELSE resource_tenant END AS resource_tenant,
  CASE WHEN follows THEN first_account_tenant ELSE account_tenant END AS account_tenant,
  CASE WHEN follows THEN first_category_tenant ELSE category_tenant END AS category_tenant,
  CASE WHEN follows THEN first_inherited_tenant ELSE inherited_tenant END AS inherited_tenant,
  CASE WHEN follows THEN first_resource_plan ELSE resource_plan END AS resource_plan,
  CASE WHEN follows THEN first_account_plan ELSE account_plan END AS account_plan,
  CASE WHEN follows THEN first_category_plan ELSE category_plan END AS category_plan,
  CASE WHEN NOT follows THEN takes_back END AS takes_back,
  CASE WHEN NOT follows THEN container_of END AS container_of,
  CAST(NULL AS VARCHAR) AS borne_by,
  SUM(line_count) AS line_count,
  SUM(CASE WHEN line_item_unblended_cost > 0 THEN line_count ELSE 0 END) AS positive_line_count,
  SUM(CASE WHEN costs THEN line_item_unblended_cost ELSE 0 END) AS unblended_cost,
  SUM(amortized_cost) AS amortized_cost,
  SUM(CASE WHEN costs THEN net_unblended_cost ELSE 0 END) AS net_unblended_cost,
  SUM(net_amortized_cost) AS net_amortized_cost,
  SUM(true_up_cost) AS true_up_cost,
  SUM(upfront_cost) AS upfront_cost,
  SUM(net_true_up_cost) AS net_true_up_cost,
  SUM(net_upfront_cost) AS net_upfront_cost,
  SUM(CASE WHEN line_item_unblended_cost > 0 THEN line_item_unblended_cost ELSE 0 END) AS positive_unblended_cost,
  SUM(CASE WHEN amortized_cost > 0 THEN amortized_cost ELSE 0 END) AS positive_amortized_cost,
  SUM(CASE WHEN net_amortized_cost > 0 THEN net_amortized_cost ELSE 0 END) AS positive_net_amortized_cost
FROM negated_lines
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  14,
  15,
  16,
  17
UNION ALL
SELECT
  CAST(:period_start AS DATE),
  n.source_id,
  n.delivery_id,
  SPLIT_PART(n.negation_key, CHR(  31), 2),
  CASE WHEN n.taken_back = 'whole' THEN n.component_tag END,
  SPLIT_PART(n.negation_key, CHR(  31), 1),
  SPLIT_PART(n.negation_key, CHR(  31), 3),
  n.usage_slice,
  CASE WHEN n.taken_back = 'whole' THEN n.resource_tenant END,
  CASE WHEN n.taken_back = 'whole' THEN n.account_tenant END,
  CASE WHEN n.taken_back = 'whole' THEN n.category_tenant END,
  CASE WHEN n.taken_back = 'whole' THEN n.inherited_tenant END,
  CASE WHEN n.taken_back = 'whole' THEN n.resource_plan END,
  CASE WHEN n.taken_back = 'whole' THEN n.account_plan END,
  CASE WHEN n.taken_back = 'whole' THEN n.category_plan END,
  CASE WHEN n.taken_back = 'over' THEN 'usage' END,
  CAST(NULL AS VARCHAR),
  CAST(NULL AS VARCHAR),
  0,
  0,
  n.rest_usd,
  0,
  n.rest_net_usd,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0
FROM negations AS n
WHERE
  n.is_group
  AND n.taken_back IN ('whole', 'over')
  AND (
    n.rest_usd <> 0 OR n.rest_net_usd <> 0
  )
UNION ALL
SELECT
  CAST(:period_start AS DATE),
  source_id,
  delivery_id,
  service,
  component_tag,
  account_id,
  charge_class,
  usage_slice,
  resource_tenant,
  account_tenant,
  category_tenant,
  inherited_tenant,
  resource_plan,
  account_plan,
  category_plan,
  CAST(NULL AS VARCHAR),
  container_of,
  CAST(NULL AS VARCHAR),
  0,
  0,
  unblended_cost,
  0,
  net_unblended_cost,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0
FROM negation_shares;

-- lens
WITH typed AS (
  SELECT
    l.*,
    CAST(:period_start AS DATE) AS period_start,
    COALESCE(
      CASE
        WHEN bill_billing_entity = 'AWS Marketplace'
        AND line_item_line_item_type NOT LIKE '%Discount%'
        THEN NULLIF(REGEXP_REPLACE(product_product_name, '\A\p{Zs}+|\p{Zs}+\z', ''), '')
      END,
      NULLIF(REGEXP_REPLACE(product_servicecode, '\A\p{Zs}+|\p{Zs}+\z', ''), ''),
      NULLIF(REGEXP_REPLACE(line_item_product_code, '\A\p{Zs}+|\p{Zs}+\z', ''), ''),
      'unknown'
    ) AS service,
    CASE
      WHEN COALESCE(split_line_item_parent_resource_id, '') <> ''
      OR line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2')
      THEN NULL
      WHEN line_item_line_item_type IN (
        'SavingsPlanCoveredUsage',
        'SavingsPlanNegation',
        'SavingsPlanRecurringFee',
        'SavingsPlanUpfrontFee',
        'DiscountedUsage',
        'RIFee'
      )
      THEN line_item_line_item_type
      WHEN :first_revision
      THEN CASE
        WHEN line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> ''
        THEN 'CommitmentUpfrontFee'
        WHEN line_item_line_item_type = 'Refund'
        AND line_item_line_item_description LIKE 'Refund for one-time fee for Savings Plan ID%'
        THEN 'CommitmentUpfrontRefund'
      END
      WHEN line_item_line_item_type IN ('Fee', 'Refund', 'Credit')
      AND (
        LOWER(line_item_line_item_description) LIKE '%sign up charge for subscription%'
        OR LOWER(line_item_line_item_description) LIKE '%one-time fee for savings plan%'
      )
      THEN CASE line_item_line_item_type
        WHEN 'Fee'
        THEN 'CommitmentUpfrontFee'
        ELSE 'CommitmentUpfrontRefund'
      END
      WHEN line_item_line_item_type IN ('Fee', 'Refund', 'Credit')
      AND (
        reservation_reservation_a_r_n <> ''
        OR savings_plan_savings_plan_a_r_n <> ''
        OR (
          line_item_resource_id LIKE 'arn:%:savingsplan/%'
          OR line_item_resource_id LIKE 'arn:%:reserved-instance%'
          OR line_item_resource_id LIKE 'arn:%:rds:%:ri:%'
        )
      )
      THEN CASE
        WHEN line_item_line_item_type = 'Fee'
        THEN 'CommitmentUpfrontFee'
        WHEN (
          LOWER(line_item_line_item_description) LIKE '%sign up%'
          OR LOWER(line_item_line_item_description) LIKE '%sign-up%'
          OR LOWER(line_item_line_item_description) LIKE '%one-time%'
          OR LOWER(line_item_line_item_description) LIKE '%upfront fee%'
          OR LOWER(line_item_line_item_description) LIKE '%upfront payment%'
        )
        THEN 'CommitmentUpfrontRefund'
        WHEN (
          LOWER(line_item_line_item_description) LIKE '%recurring%'
          OR LOWER(line_item_line_item_description) LIKE '%hourly%'
          OR LOWER(line_item_line_item_description) LIKE '%per hour%'
          OR LOWER(line_item_line_item_description) LIKE '%monthly%'
          OR LOWER(line_item_line_item_description) LIKE '%no upfront%'
        )
        OR savings_plan_payment_option = 'No Upfront'
        OR pricing_purchase_option = 'No Upfront'
        THEN 'CommitmentFeeRefund'
        WHEN line_item_line_item_type = 'Refund' OR bill_bill_type IN ('Purchase', 'Refund')
        THEN 'CommitmentUpfrontRefund'
        ELSE 'CommitmentFeeRefund'
      END
    END AS commitment_line,
    COALESCE(line_item_net_unblended_cost, line_item_unblended_cost) AS net_unblended_cost,
    COALESCE(savings_plan_total_commitment_to_date, 0) - COALESCE(savings_plan_used_commitment, 0) AS unused_commitment,
    COALESCE(
      CASE
        WHEN NOT savings_plan_net_recurring_commitment_for_billing_period IS NULL
        THEN savings_plan_recurring_commitment_for_billing_period
      END,
      line_item_unblended_cost
    ) + COALESCE(savings_plan_amortized_upfront_commitment_for_billing_period, 0) AS gross_commitment,
    COALESCE(
      savings_plan_net_recurring_commitment_for_billing_period,
      line_item_net_unblended_cost,
      line_item_unblended_cost
    ) + COALESCE(
      savings_plan_net_amortized_upfront_commitment_for_billing_period,
      savings_plan_amortized_upfront_commitment_for_billing_period,
      0
    ) AS net_commitment
  FROM delivered_lines AS l
)
SELECT
  t.*,
  CASE
    WHEN bill_billing_entity = 'AWS Marketplace'
    THEN 'marketplace'
    WHEN line_item_line_item_type = 'Tax'
    THEN 'tax'
    WHEN line_item_line_item_type = 'Credit'
    THEN 'credit'
    WHEN line_item_line_item_type = 'Refund'
    THEN 'refund'
    WHEN line_item_product_code LIKE 'AWSSupport%'
    OR line_item_product_code LIKE 'OCBPremiumSupport%'
    OR line_item_product_code IN ('AWSPremiumSupport', 'AWSDeveloperSupport')
    THEN 'support'
    WHEN line_item_line_item_type IN ('RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee')
    OR commitment_line = 'CommitmentUpfrontFee'
    THEN 'commitment_fee'
    WHEN line_item_line_item_type LIKE '%Discount'
    THEN 'discount'
    ELSE 'usage'
  END AS charge_class,
  CASE commitment_line
    WHEN 'SavingsPlanCoveredUsage'
    THEN COALESCE(savings_plan_savings_plan_effective_cost, 0)
    WHEN 'SavingsPlanNegation'
    THEN 0
    WHEN 'SavingsPlanRecurringFee'
    THEN t.unused_commitment
    WHEN 'SavingsPlanUpfrontFee'
    THEN 0
    WHEN 'DiscountedUsage'
    THEN COALESCE(reservation_effective_cost, 0)
    WHEN 'RIFee'
    THEN COALESCE(reservation_unused_amortized_upfront_fee_for_billing_period, 0) + COALESCE(reservation_unused_recurring_fee, 0)
    WHEN 'CommitmentUpfrontFee'
    THEN 0
    WHEN 'CommitmentUpfrontRefund'
    THEN 0
    ELSE line_item_unblended_cost
  END AS amortized_cost,
  CASE commitment_line
    WHEN 'SavingsPlanCoveredUsage'
    THEN COALESCE(
      savings_plan_net_savings_plan_effective_cost,
      savings_plan_savings_plan_effective_cost,
      0
    )
    WHEN 'SavingsPlanNegation'
    THEN 0
    WHEN 'SavingsPlanRecurringFee'
    THEN COALESCE(u.net_unused_usd, t.unused_commitment)
    WHEN 'SavingsPlanUpfrontFee'
    THEN 0
    WHEN 'DiscountedUsage'
    THEN COALESCE(reservation_net_effective_cost, reservation_effective_cost, 0)
    WHEN 'RIFee'
    THEN COALESCE(
      reservation_net_unused_amortized_upfront_fee_for_billing_period,
      reservation_unused_amortized_upfront_fee_for_billing_period,
      0
    ) + COALESCE(reservation_net_unused_recurring_fee, reservation_unused_recurring_fee, 0)
    WHEN 'CommitmentUpfrontFee'
    THEN 0
    WHEN 'CommitmentUpfrontRefund'
    THEN 0
    ELSE net_unblended_cost
  END AS net_amortized_cost,
  CASE commitment_line
    WHEN 'SavingsPlanRecurringFee'
    THEN -COALESCE(savings_plan_amortized_upfront_commitment_for_billing_period, 0)
    WHEN 'RIFee'
    THEN -COALESCE(reservation_amortized_upfront_fee_for_billing_period, 0)
    ELSE CAST(0 AS DECIMAL(38, 18))
  END AS true_up_cost,
  CASE
    WHEN commitment_line IN ('SavingsPlanUpfrontFee', 'CommitmentUpfrontFee', 'CommitmentUpfrontRefund')
    THEN line_item_unblended_cost
    ELSE CAST(0 AS DECIMAL(38, 18))
  END AS upfront_cost,
  CASE commitment_line
    WHEN 'SavingsPlanRecurringFee'
    THEN -COALESCE(
      savings_plan_net_amortized_upfront_commitment_for_billing_period,
      savings_plan_amortized_upfront_commitment_for_billing_period,
      0
    )
    WHEN 'RIFee'
    THEN -COALESCE(
      reservation_net_amortized_upfront_fee_for_billing_period,
      reservation_amortized_upfront_fee_for_billing_period,
      0
    )
    ELSE CAST(0 AS DECIMAL(38, 18))
  END AS net_true_up_cost,
  CASE
    WHEN commitment_line IN ('SavingsPlanUpfrontFee', 'CommitmentUpfrontFee', 'CommitmentUpfrontRefund')
    THEN net_unblended_cost
    ELSE CAST(0 AS DECIMAL(38, 18))
  END AS net_upfront_cost
FROM typed AS t
LEFT JOIN net_unused_commitments AS u
  ON t.commitment_line = 'SavingsPlanRecurringFee'
  AND u.unused_usd = t.unused_commitment
  AND u.gross_usd = t.gross_commitment
  AND u.net_usd = t.net_commitment;

-- line_pool
SELECT
  service,
  charge_class,
  unblended_usd,
  amortized_usd,
  net_amortized_usd
FROM kept_pool
UNION ALL
SELECT
  product_servicecode,
  charge_class,
  SUM(line_item_unblended_cost),
  SUM(amortized_cost),
  SUM(net_amortized_cost)
FROM typed_lines
GROUP BY
  1,
  2;

-- measure_commitments
SELECT
  source_id,
  COALESCE(NULLIF(savings_plan_savings_plan_a_r_n, ''), reservation_reservation_a_r_n) AS commitment,
  COUNT_IF(commitment_line IN ('SavingsPlanRecurringFee', 'RIFee')) > 0 AS has_fee,
  COUNT_IF(commitment_line IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')) > 0 AS has_usage,
  SUM(line_item_unblended_cost - amortized_cost - true_up_cost - upfront_cost) AS residual_usd,
  SUM(net_unblended_cost - net_amortized_cost - net_true_up_cost - net_upfront_cost) AS net_residual_usd
FROM measured_lines
WHERE
  quarantine_code IS NULL
  AND NOT commitment_line IS NULL
  AND COALESCE(NULLIF(savings_plan_savings_plan_a_r_n, ''), reservation_reservation_a_r_n) <> ''
GROUP BY
  1,
  2
HAVING
  ABS(SUM(line_item_unblended_cost - amortized_cost - true_up_cost - upfront_cost)) > 0.01
  OR ABS(
    SUM(net_unblended_cost - net_amortized_cost - net_true_up_cost - net_upfront_cost)
  ) > 0.01
ORDER BY
  1,
  2;

-- measure_delivery
WITH alike AS (
  SELECT
    line_item_usage_account_id,
    bill_billing_entity,
    line_item_line_item_type,
    product_product_name,
    product_servicecode,
    line_item_product_code,
    bill_invoice_id,
    bill_bill_type,
    bill_payer_account_id,
    CAST(line_item_usage_start_date AS DATE) AS usage_day,
    line_item_currency_code,
    CAST(bill_billing_period_start_date AS DATE) AS billing_period_start,
    quarantine_code,
    lost_values,
    line_item_unblended_cost IS NULL AS is_unpriced,
    line_item_unblended_cost < 0 AS is_negative,
    COUNT(*) AS row_count,
    SUM(line_item_unblended_cost) AS cost_usd,
    MAX(line_item_usage_start_date) AS newest_usage_at
  FROM delivered_lines
  GROUP BY
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16
)
SELECT
  COALESCE(line_item_usage_account_id, '') AS account,
  COALESCE(
    CASE
      WHEN bill_billing_entity = 'AWS Marketplace'
      AND line_item_line_item_type NOT LIKE '%Discount%'
      THEN NULLIF(REGEXP_REPLACE(product_product_name, '\A\p{Zs}+|\p{Zs}+\z', ''), '')
    END,
    NULLIF(REGEXP_REPLACE(product_servicecode, '\A\p{Zs}+|\p{Zs}+\z', ''), ''),
    NULLIF(REGEXP_REPLACE(line_item_product_code, '\A\p{Zs}+|\p{Zs}+\z', ''), ''),
    'unknown'
  ) AS service,
  COALESCE(bill_invoice_id, '') AS invoice,
  COALESCE(bill_bill_type, 'Anniversary') AS bill_type,
  COALESCE(bill_billing_entity, 'AWS') AS billing_entity,
  COALESCE(bill_payer_account_id, '') AS payer,
  COALESCE(line_item_line_item_type, '') AS line_type,
  usage_day,
  COALESCE(line_item_currency_code, '') AS currency,
  billing_period_start,
  quarantine_code,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  COALESCE(SUM(cost_usd), 0) AS cost_usd,
  CAST(SUM(CASE WHEN is_unpriced THEN row_count ELSE 0 END) AS BIGINT) AS unpriced_rows,
  CAST(SUM(CASE WHEN is_negative THEN row_count ELSE 0 END) AS BIGINT) AS negative_rows,
  COALESCE(SUM(CASE WHEN is_negative THEN cost_usd END), 0) AS negative_usd,
  CAST(SUM(CASE WHEN lost_values THEN row_count ELSE 0 END) AS BIGINT) AS lost_rows,
  MAX(newest_usage_at) AS newest_usage_at
FROM alike
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11;

-- measure_delivery_breakdown
SELECT
  'account' AS dimension,
  account AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY
  2
UNION ALL
SELECT
  'service' AS dimension,
  service AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY
  2
UNION ALL
SELECT
  'invoice' AS dimension,
  invoice AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY
  2
UNION ALL
SELECT
  'line_type' AS dimension,
  line_type AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY
  2
UNION ALL
SELECT
  'payer' AS dimension,
  payer AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY
  2
UNION ALL
SELECT
  'usage_day' AS dimension,
  CAST(usage_day AS VARCHAR) AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
WHERE
  line_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')
  AND NOT usage_day IS NULL
GROUP BY
  2
UNION ALL
SELECT
  'payer_account' AS dimension,
  CONCAT(CAST(payer AS VARCHAR), '/', CAST(account AS VARCHAR)) AS value,
  CAST(SUM(row_count) AS BIGINT) AS row_count,
  SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY
  2;

-- measure_delivery_faults
SELECT
  COALESCE(g.quarantine_code, 'E-ACCOUNT') AS quarantine_code,
  CAST(SUM(g.row_count) AS BIGINT) AS row_count,
  SUM(g.cost_usd) AS cost_usd,
  CAST(SUM(g.unpriced_rows) AS BIGINT) AS unpriced_rows
FROM delivered_groups AS g
WHERE
  NOT g.quarantine_code IS NULL
  OR g.account IN (
    SELECT
      b.account
    FROM bad_accounts AS b
  )
GROUP BY
  1
ORDER BY
  2 DESC,
  1;

-- measure_delivery_totals
SELECT
  COALESCE(CAST(SUM(row_count) AS BIGINT), 0) AS row_count,
  COALESCE(SUM(cost_usd), 0) AS cost_usd,
  COALESCE(
    CAST(SUM(CASE WHEN NOT currency IN ('USD', '') THEN row_count ELSE 0 END) AS BIGINT),
    0
  ) AS other_currency_rows,
  MIN(CASE WHEN NOT currency IN ('USD', '') THEN currency END) AS other_currency,
  COALESCE(CAST(SUM(CASE WHEN currency = '' THEN row_count ELSE 0 END) AS BIGINT), 0) AS no_currency_rows,
  COALESCE(
    CAST(SUM(
      CASE
        WHEN billing_period_start IS NULL
        OR billing_period_start <> CAST(:period_start AS DATE)
        THEN row_count
        ELSE 0
      END
    ) AS BIGINT),
    0
  ) AS other_period_rows,
  COALESCE(
    CAST(SUM(
      CASE
        WHEN bill_type = 'Anniversary' AND billing_entity <> '' AND invoice = ''
        THEN row_count
        ELSE 0
      END
    ) AS BIGINT),
    0
  ) AS rows_without_invoice,
  COALESCE(
    CAST(SUM(
      CASE
        WHEN line_type = 'Usage'
        AND (
          usage_day < CAST(:period_start AS DATE) OR usage_day >= CAST(:period_end AS DATE)
        )
        THEN row_count
        ELSE 0
      END
    ) AS BIGINT),
    0
  ) AS outside_rows,
  COALESCE(
    CAST(SUM(
      CASE
        WHEN line_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')
        THEN negative_rows
        ELSE 0
      END
    ) AS BIGINT),
    0
  ) AS negative_usage_rows,
  COALESCE(
    SUM(
      CASE
        WHEN line_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')
        THEN negative_usd
        ELSE 0
      END
    ),
    0
  ) AS negative_usage_usd,
  COALESCE(CAST(SUM(lost_rows) AS BIGINT), 0) AS lost_rows,
  MAX(CASE WHEN line_type = 'Usage' THEN newest_usage_at END) AS newest_usage_at
FROM delivered_groups;

-- measure_fact_cost_adjustment
SELECT
  COUNT(*) AS entry_count,
  COALESCE(SUM(allocated_cost_usd), 0) AS unblended_usd,
  COALESCE(SUM(allocated_amortized_cost_usd), 0) AS amortized_usd,
  COALESCE(SUM(allocated_net_amortized_cost_usd), 0) AS net_amortized_usd
FROM fact_cost_adjustment
WHERE
  run_id = :run_id;

-- measure_fact_cost_allocated
SELECT
  COUNT(*) AS entry_count,
  COALESCE(SUM(allocated_cost_usd), 0) AS net_usd,
  COALESCE(SUM(CASE WHEN entry_type = 'allocation' THEN allocated_cost_usd ELSE 0 END), 0) AS allocated_usd,
  COALESCE(SUM(CASE WHEN entry_type = 'reversal' THEN allocated_cost_usd ELSE 0 END), 0) AS reversed_usd,
  COALESCE(
    SUM(
      CASE
        WHEN entry_type = 'allocation' AND tenant_id = '__unallocated__'
        THEN allocated_cost_usd
        ELSE 0
      END
    ),
    0
  ) AS unallocated_usd
FROM fact_cost_allocated
WHERE
  period_start = :period_start AND run_id = :run_id;

-- measure_fact_cost_raw
SELECT
  COUNT(*) AS row_count,
  COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd,
  COALESCE(SUM(amortized_cost), 0) AS amortized_usd,
  COALESCE(SUM(net_unblended_cost), 0) AS net_unblended_usd,
  COALESCE(SUM(net_amortized_cost), 0) AS net_amortized_usd,
  COALESCE(SUM(true_up_cost), 0) AS true_up_usd,
  COALESCE(SUM(upfront_cost), 0) AS upfront_usd,
  COALESCE(SUM(COALESCE(net_true_up_cost, true_up_cost)), 0) AS net_true_up_usd,
  COALESCE(SUM(COALESCE(net_upfront_cost, upfront_cost)), 0) AS net_upfront_usd,
  COALESCE(SUM(ABS(line_item_unblended_cost)), 0) AS absolute_usd
FROM fact_cost_raw
WHERE
  period_start = :period_start;

-- measure_fact_cost_tagged
SELECT
  COUNT(*) AS group_count,
  COALESCE(CAST(SUM(line_count) AS BIGINT), 0) AS line_count,
  COALESCE(SUM(unblended_cost), 0) AS unblended_usd,
  COALESCE(SUM(amortized_cost), 0) AS amortized_usd,
  COALESCE(SUM(net_unblended_cost), 0) AS net_unblended_usd,
  COALESCE(SUM(net_amortized_cost), 0) AS net_amortized_usd,
  COALESCE(SUM(true_up_cost), 0) AS true_up_usd,
  COALESCE(SUM(upfront_cost), 0) AS upfront_usd,
  COALESCE(SUM(net_true_up_cost), 0) AS net_true_up_usd,
  COALESCE(SUM(net_upfront_cost), 0) AS net_upfront_usd
FROM fact_cost_tagged
WHERE
  period_start = :period_start;

-- measure_lines
SELECT
  file_name,
  NOT quarantine_code IS NULL AS is_aside,
  product_servicecode AS service,
  charge_class,
  CAST(SUM(line_count) AS BIGINT) AS row_count,
  COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd,
  COALESCE(SUM(amortized_cost), 0) AS amortized_usd,
  COALESCE(SUM(net_unblended_cost), 0) AS net_unblended_usd,
  COALESCE(SUM(net_amortized_cost), 0) AS net_amortized_usd,
  COALESCE(SUM(true_up_cost), 0) AS true_up_usd,
  COALESCE(SUM(upfront_cost), 0) AS upfront_usd,
  COALESCE(SUM(net_true_up_cost), 0) AS net_true_up_usd,
  COALESCE(SUM(net_upfront_cost), 0) AS net_upfront_usd,
  COALESCE(SUM(ABS(line_item_unblended_cost)), 0) AS absolute_usd
FROM measured_lines
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  1,
  2,
  3,
  4;

-- measure_repeated_lines
WITH keyed AS (
  SELECT
    line_item_unblended_cost AS cost_usd,
    (
      BITWISE_RIGHT_SHIFT_ARITHMETIC(
        FROM_BIG_ENDIAN_64(
          XXHASH64(
            TO_UTF8(
              COALESCE(CAST(identity_line_item_id AS VARCHAR), '') || CHR(31) || COALESCE(CAST(identity_time_interval AS VARCHAR), '') || CHR(31) || COALESCE(CAST(bill_invoice_id AS VARCHAR), '')
            )
          )
        ),
        1
      ) + 4611686018427387904
    ) AS line_hash
  FROM delivered_lines
  WHERE
    COALESCE(identity_line_item_id, '') <> ''
), repeated AS (
  SELECT
    COUNT(*) - 1 AS row_count,
    SUM(cost_usd) - MAX(cost_usd) AS cost_usd
  FROM keyed
  WHERE
    line_hash % CAST(:share AS BIGINT) = 0
  GROUP BY
    line_hash
  HAVING
    COUNT(*) > 1
)
SELECT
  COALESCE(CAST(SUM(row_count) AS BIGINT), 0) AS repeated_rows,
  COALESCE(SUM(cost_usd), 0) AS repeated_usd
FROM repeated;

-- measure_tag_coverage
SELECT
  service,
  COALESCE(
    SUM(
      CASE :basis
        WHEN 'amortized'
        THEN positive_amortized_cost
        WHEN 'net_amortized'
        THEN positive_net_amortized_cost
        ELSE positive_unblended_cost
      END
    ),
    0
  ) AS coverable_usd,
  COALESCE(
    SUM(
      CASE
        WHEN is_tag_complete
        THEN CASE :basis
          WHEN 'amortized'
          THEN positive_amortized_cost
          WHEN 'net_amortized'
          THEN positive_net_amortized_cost
          ELSE positive_unblended_cost
        END
        ELSE 0
      END
    ),
    0
  ) AS covered_usd,
  COALESCE(
    SUM(
      CASE
        WHEN NOT tenant_id IS NULL
        THEN CASE :basis
          WHEN 'amortized'
          THEN positive_amortized_cost
          WHEN 'net_amortized'
          THEN positive_net_amortized_cost
          ELSE positive_unblended_cost
        END
        ELSE 0
      END
    ),
    0
  ) AS propagated_usd,
  COALESCE(
    SUM(
      CASE
        WHEN NOT tag_source IN ('resource', 'account')
        THEN positive_unblended_cost
        ELSE 0
      END
    ),
    0
  ) AS missing_usd,
  COALESCE(CAST(SUM(positive_line_count) AS BIGINT), 0) AS coverable_rows,
  COALESCE(
    CAST(SUM(CASE WHEN is_tag_complete THEN positive_line_count ELSE 0 END) AS BIGINT),
    0
  ) AS covered_rows,
  COALESCE(
    CAST(SUM(
      CASE
        WHEN NOT tag_source IN ('resource', 'account')
        THEN positive_line_count
        ELSE 0
      END
    ) AS BIGINT),
    0
  ) AS missing_rows
FROM fact_cost_tagged
WHERE
  period_start = :period_start AND charge_class = 'usage'
GROUP BY
  1
ORDER BY
  1;

-- missing_tenant_tags
SELECT
  l.period_start,
  l.product_servicecode AS service,
  l.component_tag AS service_component,
  l.line_item_usage_account_id AS usage_account_id,
  NULLIF(l.line_item_resource_id, '') AS resource_id,
  COALESCE(l.resource_tenant, l.account_tenant) AS tenant_tag,
  CAST(SUM(l.line_count) AS BIGINT) AS line_count,
  SUM(l.line_item_unblended_cost) AS missing_usd,
  CAST(RANK() OVER (PARTITION BY l.period_start ORDER BY SUM(l.line_item_unblended_cost) DESC) AS BIGINT) AS fix_rank
FROM missing_cost_lines AS l
WHERE
  l.charge_class = 'usage'
  AND l.line_item_unblended_cost > 0
  AND (
    COALESCE(l.resource_tenant, l.account_tenant) IS NULL
    OR (
      l.period_start,
      (
        NORMALIZE(COALESCE(l.resource_tenant, l.account_tenant), NFC)
      )
    ) IN (
      SELECT
        u.period_start,
        u.tenant_tag
      FROM fact_cost_tagged AS u
      WHERE
        NOT u.tenant_tag IS NULL
    )
  )
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6;

-- owned_lines
WITH negated AS (
  SELECT
    l.*,
    r.inherited_tenant,
    CASE
      WHEN n.taken_back IS NULL OR n.taken_back = 'part'
      THEN l.line_item_unblended_cost
      ELSE CAST(0 AS DECIMAL(38, 18))
    END AS billed_usd
  FROM single_cost_lines AS l
  LEFT JOIN resource_tenants AS r
    ON r.resource_id = l.untagged_resource
  LEFT JOIN negations AS n
    ON n.negation_key = l.negation_key
    AND n.negation_zone = l.negation_zone
    AND n.usage_start = l.line_item_usage_start_date
    AND n.usage_end = l.usage_end
  WHERE
    l.period_start = :period_start
    AND (
      n.taken_back IS NULL OR l.commitment_line <> 'SavingsPlanNegation'
    )
)
SELECT
  l.*,
  o.tenant_id,
  o.plan_id,
  o.service_component
FROM negated AS l
INNER JOIN line_owners AS o
  ON o.usage_slice = l.usage_slice
  AND (
    COALESCE(CAST(o.account_id AS VARCHAR), '') = COALESCE(CAST(l.line_item_usage_account_id AS VARCHAR), '')
    AND (
      o.account_id IS NULL
    ) = (
      l.line_item_usage_account_id IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.component_tag AS VARCHAR), '') = COALESCE(CAST(l.component_tag AS VARCHAR), '')
    AND (
      o.component_tag IS NULL
    ) = (
      l.component_tag IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.resource_tenant AS VARCHAR), '') = COALESCE(CAST(l.resource_tenant AS VARCHAR), '')
    AND (
      o.resource_tenant IS NULL
    ) = (
      l.resource_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.account_tenant AS VARCHAR), '') = COALESCE(CAST(l.account_tenant AS VARCHAR), '')
    AND (
      o.account_tenant IS NULL
    ) = (
      l.account_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.category_tenant AS VARCHAR), '') = COALESCE(CAST(l.category_tenant AS VARCHAR), '')
    AND (
      o.category_tenant IS NULL
    ) = (
      l.category_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.inherited_tenant AS VARCHAR), '') = COALESCE(CAST(l.inherited_tenant AS VARCHAR), '')
    AND (
      o.inherited_tenant IS NULL
    ) = (
      l.inherited_tenant IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.resource_plan AS VARCHAR), '') = COALESCE(CAST(l.resource_plan AS VARCHAR), '')
    AND (
      o.resource_plan IS NULL
    ) = (
      l.resource_plan IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.account_plan AS VARCHAR), '') = COALESCE(CAST(l.account_plan AS VARCHAR), '')
    AND (
      o.account_plan IS NULL
    ) = (
      l.account_plan IS NULL
    )
  )
  AND (
    COALESCE(CAST(o.category_plan AS VARCHAR), '') = COALESCE(CAST(l.category_plan AS VARCHAR), '')
    AND (
      o.category_plan IS NULL
    ) = (
      l.category_plan IS NULL
    )
  );

-- pool_dimensions
SELECT
  product_servicecode AS service,
  service_component,
  charge_class,
  delivery_id,
  CASE
    WHEN COUNT(NULLIF(bill_invoice_id, '')) = COUNT(*)
    AND MIN(bill_invoice_id) = MAX(bill_invoice_id)
    THEN MIN(bill_invoice_id)
  END AS invoice_id,
  CASE
    WHEN COUNT(NULLIF(bill_payer_account_id, '')) = COUNT(*)
    AND MIN(bill_payer_account_id) = MAX(bill_payer_account_id)
    THEN MIN(bill_payer_account_id)
  END AS payer,
  CASE
    WHEN COUNT(NULLIF(line_item_usage_account_id, '')) = COUNT(*)
    AND MIN(line_item_usage_account_id) = MAX(line_item_usage_account_id)
    THEN MIN(line_item_usage_account_id)
  END AS account,
  CASE
    WHEN COUNT(NULLIF(product_region_code, '')) = COUNT(*)
    AND MIN(product_region_code) = MAX(product_region_code)
    THEN MIN(product_region_code)
  END AS region,
  CASE
    WHEN COUNT(NULLIF(line_item_legal_entity, '')) = COUNT(*)
    AND MIN(line_item_legal_entity) = MAX(line_item_legal_entity)
    THEN MIN(line_item_legal_entity)
  END AS seller,
  CASE
    WHEN MIN(line_item_line_item_type) = MAX(line_item_line_item_type)
    THEN MIN(line_item_line_item_type)
  END AS line_type
FROM owned_lines
WHERE
  tenant_id IS NULL
GROUP BY
  1,
  2,
  3,
  4
ORDER BY
  1,
  2,
  3,
  4;

-- pool_invoices
WITH sums AS (
  SELECT
    product_servicecode AS service,
    service_component,
    charge_class,
    delivery_id,
    NULLIF(REGEXP_REPLACE(bill_invoice_id, '\A\p{Zs}+|\p{Zs}+\z', ''), '') AS invoice_id,
    SUM(billed_usd) AS billed_usd,
    SUM(amortized_cost) AS effective_usd,
    SUM(net_amortized_cost) AS net_effective_usd
  FROM owned_lines
  WHERE
    tenant_id IS NULL
  GROUP BY
    1,
    2,
    3,
    4,
    5
)
SELECT
  s.*
FROM sums AS s
INNER JOIN (
  SELECT
    service,
    service_component,
    charge_class,
    delivery_id
  FROM sums
  GROUP BY
    1,
    2,
    3,
    4
  HAVING
    COUNT(*) > 1
) AS several
  ON several.service = s.service
  AND several.charge_class = s.charge_class
  AND several.delivery_id = s.delivery_id
  AND (
    COALESCE(CAST(several.service_component AS VARCHAR), '') = COALESCE(CAST(s.service_component AS VARCHAR), '')
    AND (
      several.service_component IS NULL
    ) = (
      s.service_component IS NULL
    )
  )
ORDER BY
  1,
  2,
  3,
  4,
  5;

-- stage_fact_cost_adjustment
SELECT
  :run_id || '-' || CAST(l.line_number AS VARCHAR) AS entry_id,
  CAST(:run_id AS VARCHAR) AS run_id,
  'adjustment' AS entry_type,
  CAST(NULL AS VARCHAR) AS reverses_run_id,
  CAST(NULL AS VARCHAR) AS reverses_entry_id,
  CAST(:period_start AS DATE) AS period_start,
  l.service,
  l.service_component,
  l.charge_class,
  l.tenant_id,
  l.plan_id,
  l.allocation_method,
  l.rule_id,
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
FROM adjustment_lines AS l;

-- stage_fact_cost_allocated
WITH entries AS (
  SELECT
    'reversal' AS entry_type,
    run_id AS reverses_run_id,
    entry_id AS reversed_entry_id,
    service,
    service_component,
    charge_class,
    tenant_id,
    plan_id,
    allocation_method,
    rule_id,
    rule_version,
    key_name,
    -key_value AS key_value,
    -key_total AS key_total,
    -pool_cost_usd AS pool_cost_usd,
    -allocated_cost_usd AS allocated_cost_usd,
    -allocated_amortized_cost_usd AS allocated_amortized_cost_usd,
    -allocated_net_amortized_cost_usd AS allocated_net_amortized_cost_usd,
    delivery_id
  FROM fact_cost_allocated
  WHERE
    period_start = :period_start
    AND run_id = :predecessor_run_id
    AND entry_type = 'allocation'
  UNION ALL
  SELECT
    'allocation',
    NULL,
    '',
    service,
    service_component,
    charge_class,
    tenant_id,
    plan_id,
    allocation_method,
    rule_id,
    rule_version,
    key_name,
    key_value,
    key_total,
    pool_cost_usd,
    allocated_cost_usd,
    allocated_amortized_cost_usd,
    allocated_net_amortized_cost_usd,
    delivery_id
  FROM posted_entries
), numbered AS (
  SELECT
    e.*,
    ROW_NUMBER() OVER (
      ORDER BY entry_type DESC, reversed_entry_id, allocation_method, service, service_component, charge_class, rule_id, tenant_id, plan_id, delivery_id, pool_cost_usd, key_value, allocated_cost_usd, allocated_amortized_cost_usd, allocated_net_amortized_cost_usd, key_name
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
  service,
  service_component,
  charge_class,
  tenant_id,
  plan_id,
  allocation_method,
  rule_id,
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
ORDER BY
  entry_number;

-- stage_fact_cost_tagged
WITH spoken AS (
  SELECT
    usage_slice,
    resource_tenant_name AS tag_name
  FROM spelled_groups
  UNION
  SELECT
    usage_slice,
    account_tenant_name AS tag_name
  FROM spelled_groups
  UNION
  SELECT
    usage_slice,
    category_tenant_name AS tag_name
  FROM spelled_groups
  UNION
  SELECT
    usage_slice,
    inherited_tenant_name AS tag_name
  FROM spelled_groups
), resolved AS (
  SELECT
    s.usage_slice,
    s.tag_name,
    CASE
      WHEN COALESCE(a.canonical, s.tag_name) IN ('__unallocated__', '__operator__')
      THEN NULL
      WHEN a.canonical IS NULL AND LOWER(s.tag_name) LIKE 'e-tag-clash %'
      THEN NULL
      WHEN :any_tenant
      THEN COALESCE(a.canonical, s.tag_name)
      ELSE COALESCE(c.tenant_id, t.tenant_id)
    END AS tenant_id
  FROM spoken AS s
  LEFT JOIN alias_names AS a
    ON a.tag_name = 'tenant_id'
    AND a.spelled = s.tag_name
    AND a.effective_from <= s.usage_slice
    AND (
      a.effective_to IS NULL OR a.effective_to > s.usage_slice
    )
  LEFT JOIN tenants AS c
    ON c.tenant_id = a.canonical
    AND c.active_from <= s.usage_slice
    AND (
      c.active_to IS NULL OR c.active_to > s.usage_slice
    )
  LEFT JOIN tenant_names AS t
    ON a.canonical IS NULL
    AND t.spelled = s.tag_name
    AND t.active_from <= s.usage_slice
    AND (
      t.active_to IS NULL OR t.active_to > s.usage_slice
    )
  WHERE
    NOT s.tag_name IS NULL
), spelled_plans AS (
  SELECT
    spelled,
    MIN(plan_id) AS plan_id
  FROM plan_names
  GROUP BY
    1
  HAVING
    COUNT(DISTINCT plan_id) = 1
), named AS (
  SELECT
    g.*,
    r1.tenant_id AS by_resource,
    r2.tenant_id AS by_account,
    r3.tenant_id AS by_category,
    r4.tenant_id AS by_inheritance,
    CASE WHEN :any_mapping OR NOT mt.tenant_id IS NULL THEN m.tenant_id END AS by_mapping,
    m.tenant_id AS mapped_name,
    CASE
      WHEN :any_plan
      THEN COALESCE(p.canonical, g.plan_name)
      ELSE COALESCE(pc.plan_id, pn.plan_id)
    END AS tagged_plan,
    COALESCE(ca.canonical, g.component_name) AS service_component
  FROM spelled_groups AS g
  LEFT JOIN resolved AS r1
    ON r1.usage_slice = g.usage_slice AND r1.tag_name = g.resource_tenant_name
  LEFT JOIN resolved AS r2
    ON r2.usage_slice = g.usage_slice AND r2.tag_name = g.account_tenant_name
  LEFT JOIN resolved AS r3
    ON r3.usage_slice = g.usage_slice AND r3.tag_name = g.category_tenant_name
  LEFT JOIN resolved AS r4
    ON r4.usage_slice = g.usage_slice AND r4.tag_name = g.inherited_tenant_name
  LEFT JOIN account_tenants AS m
    ON m.usage_account_id = g.account_id
    AND m.effective_from <= g.usage_slice
    AND (
      m.effective_to IS NULL OR m.effective_to > g.usage_slice
    )
  LEFT JOIN tenants AS mt
    ON mt.tenant_id = m.tenant_id
    AND mt.active_from <= g.usage_slice
    AND (
      mt.active_to IS NULL OR mt.active_to > g.usage_slice
    )
  LEFT JOIN alias_names AS p
    ON p.tag_name = 'plan_id'
    AND p.spelled = g.plan_name
    AND p.effective_from <= g.usage_slice
    AND (
      p.effective_to IS NULL OR p.effective_to > g.usage_slice
    )
  LEFT JOIN plan_names AS pc
    ON pc.plan_id = p.canonical
  LEFT JOIN spelled_plans AS pn
    ON p.canonical IS NULL AND pn.spelled = g.plan_name
  LEFT JOIN tag_aliases AS ca
    ON ca.tag_name = 'service_component'
    AND ca.alias = g.component_name
    AND ca.effective_from <= g.usage_slice
    AND (
      ca.effective_to IS NULL OR ca.effective_to > g.usage_slice
    )
), decided AS (
  SELECT
    n.*,
    COALESCE(borne_by, by_resource, by_account, by_category, by_inheritance, by_mapping) AS tenant_id,
    CASE
      WHEN NOT borne_by IS NULL
      THEN 'none'
      WHEN NOT by_resource IS NULL
      THEN 'resource'
      WHEN NOT by_account IS NULL
      THEN 'account'
      WHEN NOT by_category IS NULL AND is_by_identity
      THEN 'identity'
      WHEN NOT by_category IS NULL
      THEN 'cost_category'
      WHEN NOT by_inheritance IS NULL
      THEN 'inherited'
      WHEN NOT by_mapping IS NULL
      THEN 'mapping'
      ELSE 'none'
    END AS tag_source,
    CASE
      WHEN COALESCE(borne_by, by_resource, by_account, by_category) IS NULL
      THEN COALESCE(
        resource_tenant_name,
        account_tenant_name,
        category_tenant_name,
        CASE
          WHEN COALESCE(by_inheritance, by_mapping) IS NULL
          THEN inherited_tenant_name
        END,
        CASE WHEN COALESCE(by_inheritance, by_mapping) IS NULL THEN mapped_name END
      )
    END AS tenant_tag,
    CASE WHEN tagged_plan IS NULL AND borne_by IS NULL THEN plan_name END AS plan_tag
  FROM named AS n
)
SELECT
  d.period_start,
  d.source_id,
  d.delivery_id,
  d.service,
  d.service_component,
  CASE WHEN d.tenant_id IS NULL THEN d.account_id END AS usage_account_id,
  d.charge_class,
  d.tenant_id,
  CASE WHEN d.borne_by IS NULL THEN COALESCE(d.tagged_plan, p.plan_id) END AS plan_id,
  d.tag_source,
  d.tenant_tag,
  d.plan_tag,
  (
    d.tag_source IN ('resource', 'account')
    AND (
      NOT COALESCE(d.resource_plan, d.account_plan) IS NULL OR NOT :plan_required
    )
  ) AS is_tag_complete,
  CAST(SUM(d.line_count) AS BIGINT) AS line_count,
  CAST(SUM(d.positive_line_count) AS BIGINT) AS positive_line_count,
  SUM(d.unblended_cost) AS unblended_cost,
  SUM(d.amortized_cost) AS amortized_cost,
  SUM(d.net_unblended_cost) AS net_unblended_cost,
  SUM(d.net_amortized_cost) AS net_amortized_cost,
  SUM(d.true_up_cost) AS true_up_cost,
  SUM(d.upfront_cost) AS upfront_cost,
  SUM(d.net_true_up_cost) AS net_true_up_cost,
  SUM(d.net_upfront_cost) AS net_upfront_cost,
  SUM(d.positive_unblended_cost) AS positive_unblended_cost,
  SUM(d.positive_amortized_cost) AS positive_amortized_cost,
  SUM(d.positive_net_amortized_cost) AS positive_net_amortized_cost,
  d.takes_back
FROM decided AS d
LEFT JOIN tenants AS p
  ON p.tenant_id = d.tenant_id
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  d.takes_back
ORDER BY
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11,
  12,
  13,
  d.takes_back;
