-- What each service and charge class of a run and of the month's corrections costs, all signs counted.
SELECT
    service,
    charge_class,
    SUM(ABS(allocated_cost_usd)) AS cost_usd
FROM (
    SELECT service, charge_class, allocated_cost_usd
    FROM fact_cost_allocated
    WHERE period_start = :period_start AND run_id = :run_id AND entry_type = 'allocation'
    UNION ALL
    SELECT service, charge_class, allocated_cost_usd
    FROM fact_cost_adjustment
    WHERE period_start = :period_start
) AS entries
GROUP BY 1, 2
ORDER BY 1, 2
