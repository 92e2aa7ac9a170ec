-- What the CUR says each AWS invoice should charge: net cost before tax, and tax; and who pays it.
SELECT
    COALESCE(bill_invoice_id, '') AS invoice_id,
    MIN(bill_payer_account_id) AS payer_account_id,
    SUM(CASE WHEN line_item_line_item_type = 'Tax' THEN 0 ELSE net_unblended_cost END) AS before_tax_usd,
    SUM(CASE WHEN line_item_line_item_type = 'Tax' THEN net_unblended_cost ELSE 0 END) AS tax_usd
FROM fact_cost_raw
WHERE period_start = :period_start
GROUP BY 1
ORDER BY 1
