-- Who bears the fees of commitments of a month, by service, amortised: what was left unused.
SELECT
    service,
    tenant_id,
    SUM(allocated_amortized_cost_usd) AS borne_usd
FROM fact_cost_allocated
WHERE period_start = :period_start AND charge_class = 'commitment_fee'
GROUP BY 1, 2
HAVING SUM(allocated_amortized_cost_usd) > 0
ORDER BY 1, 2
