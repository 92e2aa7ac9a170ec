-- What the lines of a pool cost by invoice, for pools that stand on several.
WITH sums AS (
    SELECT
        product_servicecode AS service,
        service_component,
        charge_class,
        delivery_id,
        NULLIF(TRIM(bill_invoice_id), '') AS invoice_id,
        SUM(billed_usd) AS billed_usd,
        SUM(amortized_cost) AS effective_usd,
        SUM(net_amortized_cost) AS net_effective_usd
    FROM owned_lines
    WHERE tenant_id IS NULL
    GROUP BY 1, 2, 3, 4, 5
)

SELECT s.*
FROM sums AS s
INNER JOIN (
    SELECT service, service_component, charge_class, delivery_id
    FROM sums
    GROUP BY 1, 2, 3, 4
    HAVING COUNT(*) > 1
) AS several
    ON
        several.service = s.service AND several.charge_class = s.charge_class
        AND several.delivery_id = s.delivery_id
        AND several.service_component IS NOT DISTINCT FROM s.service_component
ORDER BY 1, 2, 3, 4, 5
