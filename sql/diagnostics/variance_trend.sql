-- Tenants off tolerance, month by month, newest first: one that is there month after month is no rounding.
-- `recon_summary` shows only the worst tenant of a month, and the net hides two that cancel.
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
WHERE r.period_start BETWEEN :start AND :end AND r.status <> 'ok'
ORDER BY months_off DESC, r.tenant_id, r.period_start DESC
