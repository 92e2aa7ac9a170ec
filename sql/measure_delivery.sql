-- What a delivery holds, in one scan, before anything is staged: rows and exact cost by everything that
-- acceptance, finality and the comparison of deliveries ask about. Later questions read these groups.
-- Lines are grouped by what they say and named afterwards: the engine groups by the dictionaries it reads,
-- and computes a service for some hundred groups instead of for every line.
WITH alike AS (
    SELECT
        line_item_usage_account_id,
        bill_billing_entity,
        line_item_line_item_type,
        product_product_name,
        product_servicecode,
        line_item_product_code,
        bill_invoice_id,
        bill_bill_type,
        bill_payer_account_id,
        CAST(line_item_usage_start_date AS DATE) AS usage_day,
        line_item_currency_code,
        CAST(bill_billing_period_start_date AS DATE) AS billing_period_start,
        quarantine_code,
        lost_values,
        line_item_unblended_cost IS NULL AS is_unpriced,
        line_item_unblended_cost < 0 AS is_negative,
        COUNT(*) AS row_count,
        SUM(line_item_unblended_cost) AS cost_usd,
        MAX(line_item_usage_start_date) AS newest_usage_at
    FROM delivered_lines
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
)

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
    usage_day,
    COALESCE(line_item_currency_code, '') AS currency,
    billing_period_start,
    quarantine_code,
    CAST(SUM(row_count) AS BIGINT) AS row_count,
    COALESCE(SUM(cost_usd), 0) AS cost_usd,
    CAST(SUM(CASE WHEN is_unpriced THEN row_count ELSE 0 END) AS BIGINT) AS unpriced_rows,
    CAST(SUM(CASE WHEN is_negative THEN row_count ELSE 0 END) AS BIGINT) AS negative_rows,
    COALESCE(SUM(CASE WHEN is_negative THEN cost_usd END), 0) AS negative_usd,
    CAST(SUM(CASE WHEN lost_values THEN row_count ELSE 0 END) AS BIGINT) AS lost_rows,
    MAX(newest_usage_at) AS newest_usage_at
FROM alike
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
