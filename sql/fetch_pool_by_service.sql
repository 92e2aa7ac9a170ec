-- The tagged month per service and charge class: the base of the P2 mismatch.
SELECT
    service,
    charge_class,
    SUM(unblended_cost) AS pool_usd
FROM fact_cost_tagged
WHERE period_start = :period_start
GROUP BY 1, 2
ORDER BY 1, 2
