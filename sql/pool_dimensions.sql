-- What the lines of a pool have in common beside what the ledger keeps of them: an invoice, an account, a
-- region … only where every line of the pool has the same one. One row for each service, component, charge
-- class and delivery of cost without a tenant.
SELECT
    product_servicecode AS service,
    service_component,
    charge_class,
    delivery_id,
    CASE
        WHEN COUNT(NULLIF(bill_invoice_id, '')) = COUNT(*) AND MIN(bill_invoice_id) = MAX(bill_invoice_id)
            THEN MIN(bill_invoice_id)
    END AS invoice_id,
    CASE
        WHEN
            COUNT(NULLIF(bill_payer_account_id, '')) = COUNT(*)
            AND MIN(bill_payer_account_id) = MAX(bill_payer_account_id)
            THEN MIN(bill_payer_account_id)
    END AS payer,
    CASE
        WHEN
            COUNT(NULLIF(line_item_usage_account_id, '')) = COUNT(*)
            AND MIN(line_item_usage_account_id) = MAX(line_item_usage_account_id)
            THEN MIN(line_item_usage_account_id)
    END AS account,
    CASE
        WHEN
            COUNT(NULLIF(product_region_code, '')) = COUNT(*)
            AND MIN(product_region_code) = MAX(product_region_code)
            THEN MIN(product_region_code)
    END AS region,
    CASE
        WHEN
            COUNT(NULLIF(line_item_legal_entity, '')) = COUNT(*)
            AND MIN(line_item_legal_entity) = MAX(line_item_legal_entity)
            THEN MIN(line_item_legal_entity)
    END AS seller,
    CASE
        WHEN MIN(line_item_line_item_type) = MAX(line_item_line_item_type) THEN MIN(line_item_line_item_type)
    END AS line_type
FROM owned_lines
WHERE tenant_id IS NULL
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
