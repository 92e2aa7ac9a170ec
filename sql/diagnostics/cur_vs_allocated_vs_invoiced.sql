-- A month from AWS to invoice, term by term, and whether what was reconciled is still the newest.
-- The pasted query leaves out the terms between allocated and invoiced, so its line does not add up:
-- variance_usd is invoiced − expected, not invoiced − allocated. The status is that of the worst tenant,
-- who is not named there, and a newer delivery does not show.
WITH newest AS (
    SELECT
        h.period_start,
        SUM(d.cost_usd) AS delivered_usd
    FROM cur_billing_head AS h
    INNER JOIN cur_delivery AS d ON d.delivery_id = h.delivery_id
    GROUP BY 1
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
LEFT JOIN newest AS n ON n.period_start = s.period_start
WHERE s.period_start BETWEEN :start AND :end
ORDER BY s.period_start DESC
