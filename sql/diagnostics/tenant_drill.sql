-- Each tenant's cost and invoices, and what the newest reconciliation expected of them.
-- The pasted query joins invoices to entries. A tenant has many entries and may have several documents,
-- so each sum is multiplied by the number of rows on the other side, and a tenant who is invoiced
-- without cost is lost. Here both sides are added up first. invoiced − allocated is not the variance:
-- charge basis and markup stand in between, see expected_usd.
WITH allocated AS (
    SELECT
        period_start,
        tenant_id,
        SUM(allocated_cost_usd) AS allocated_usd
    FROM fact_cost_allocated
    WHERE period_start BETWEEN :start AND :end
    GROUP BY 1, 2
),

invoiced AS (
    SELECT
        period_start,
        tenant_id,
        COUNT(*) AS document_count,
        SUM(amount_usd) AS invoiced_usd
    FROM invoice_detail
    WHERE period_start BETWEEN :start AND :end
    GROUP BY 1, 2
),

both_sides AS (
    SELECT
        COALESCE(a.period_start, i.period_start) AS period_start,
        COALESCE(a.tenant_id, i.tenant_id) AS tenant_id,
        COALESCE(a.allocated_usd, 0) AS allocated_usd,
        COALESCE(i.invoiced_usd, 0) AS invoiced_usd,
        COALESCE(i.document_count, 0) AS document_count
    FROM allocated AS a
    FULL OUTER JOIN invoiced AS i ON i.period_start = a.period_start AND i.tenant_id = a.tenant_id
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
LEFT JOIN recon_tenant AS r ON r.period_start = b.period_start AND r.tenant_id = b.tenant_id
ORDER BY b.period_start DESC, r.variance_usd DESC, b.tenant_id
