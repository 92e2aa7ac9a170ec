-- Allocated against raw per service and charge class, in every cost view. Each difference must be 0.
-- The pasted query starts from the raw side, so a service that only the ledger has is lost, and it
-- looks at unblended cost alone: tenants who run on reservations are charged on another view.
WITH pool AS (
    SELECT
        period_start,
        product_servicecode AS service,
        charge_class,
        SUM(line_item_unblended_cost) AS unblended_usd,
        SUM(amortized_cost) AS amortized_usd,
        SUM(net_amortized_cost) AS net_amortized_usd
    FROM fact_cost_raw
    WHERE period_start BETWEEN :start AND :end
    GROUP BY 1, 2, 3
),

allocated AS (
    SELECT
        period_start,
        service,
        charge_class,
        SUM(allocated_cost_usd) AS unblended_usd,
        SUM(allocated_amortized_cost_usd) AS amortized_usd,
        SUM(allocated_net_amortized_cost_usd) AS net_amortized_usd,
        SUM(CASE WHEN tenant_id = '__unallocated__' THEN allocated_cost_usd ELSE 0 END) AS unallocated_usd
    FROM fact_cost_allocated
    WHERE period_start BETWEEN :start AND :end
    GROUP BY 1, 2, 3
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
    ON a.period_start = p.period_start AND a.service = p.service AND a.charge_class = p.charge_class
ORDER BY 1, 2, 3
