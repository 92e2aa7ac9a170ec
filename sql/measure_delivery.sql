-- What a delivery holds, in one scan, before anything is staged: rows and exact cost by everything that
-- acceptance, finality and the comparison of deliveries ask about. Later questions read these groups.
SELECT
    COALESCE(line_item_usage_account_id, '') AS account,
    COALESCE(
        CASE
            WHEN bill_billing_entity = 'AWS Marketplace' AND line_item_line_item_type NOT LIKE '%Discount%'
                THEN NULLIF(TRIM(product_product_name), '')
        END,
        NULLIF(TRIM(product_servicecode), ''),
        NULLIF(TRIM(line_item_product_code), ''),
        'unknown'
    ) AS service,
    COALESCE(bill_invoice_id, '') AS invoice,
    COALESCE(bill_bill_type, 'Anniversary') AS bill_type,
    COALESCE(bill_billing_entity, 'AWS') AS billing_entity,
    COALESCE(bill_payer_account_id, '') AS payer,
    COALESCE(line_item_line_item_type, '') AS line_type,
    CAST(line_item_usage_start_date AS DATE) AS usage_day,
    COALESCE(line_item_currency_code, '') AS currency,
    CAST(bill_billing_period_start_date AS DATE) AS billing_period_start,
    quarantine_code,
    COUNT(*) AS row_count,
    COALESCE(SUM(line_item_unblended_cost), 0) AS cost_usd,
    COUNT_IF(line_item_unblended_cost IS NULL) AS unpriced_rows,
    COUNT_IF(line_item_unblended_cost < 0) AS negative_rows,
    COALESCE(SUM(CASE WHEN line_item_unblended_cost < 0 THEN line_item_unblended_cost END), 0)
        AS negative_usd,
    COUNT_IF(lost_values) AS lost_rows,
    MAX(line_item_usage_start_date) AS newest_usage_at
FROM delivered_lines
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
