-- The lines of a month by service and charge class: as measured of kept bytes, and typed lines of months
-- before.
SELECT
    service,
    charge_class,
    unblended_usd,
    amortized_usd,
    net_amortized_usd
FROM kept_pool
UNION ALL
SELECT
    product_servicecode,
    charge_class,
    SUM(line_item_unblended_cost),
    SUM(amortized_cost),
    SUM(net_amortized_cost)
FROM typed_lines
GROUP BY 1, 2
