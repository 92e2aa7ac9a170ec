-- Conservation, per service and charge class and in every cost column: what came in, what was posted and
-- the difference, which is 0 in every row. A run's certificate holds these rows.
WITH pool AS (
    SELECT
        service,
        charge_class,
        SUM(unblended_usd) AS unblended_usd,
        SUM(amortized_usd) AS amortized_usd,
        SUM(net_amortized_usd) AS net_amortized_usd
    FROM line_pool
    GROUP BY 1, 2
),

allocated AS (
    SELECT
        service,
        charge_class,
        SUM(allocated_cost_usd) AS unblended_usd,
        SUM(allocated_amortized_cost_usd) AS amortized_usd,
        SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd
    FROM fact_cost_allocated
    WHERE period_start = :period_start
    GROUP BY 1, 2
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
FULL OUTER JOIN allocated AS a ON a.service = p.service AND a.charge_class = p.charge_class
ORDER BY 1, 2
