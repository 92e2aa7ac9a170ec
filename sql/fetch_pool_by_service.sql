-- The tagged month per service and charge class: the base of the P2 mismatch and of cost whose tag
-- names nobody.
SELECT
    service,
    charge_class,
    SUM(unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE period_start = :period_start
GROUP BY 1, 2
ORDER BY 1, 2
