-- What instances cost that no commitment covered, by service: what could have been covered. Spot is not, and
-- a line without an instance type is nothing that a reservation is for.
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
GROUP BY 1
ORDER BY 1
