-- What the CUR says each AWS invoice should charge: net cost before tax, and tax; and who pays it. AWS
-- rounds each service of each account on its invoice, so the amounts that are not 0 are counted too.
WITH amounts AS (
    SELECT
        source_id,
        COALESCE(bill_invoice_id, '') AS invoice_id,
        CASE WHEN line_item_line_item_type = 'Tax' THEN 1 ELSE 0 END AS is_tax,
        line_item_usage_account_id,
        product_servicecode,
        MIN(bill_payer_account_id) AS payer_account_id,
        SUM(net_unblended_cost) AS cost_usd
    FROM alike_lines
    WHERE period_start = :period_start
    GROUP BY 1, 2, 3, 4, 5
)

SELECT
    source_id,
    invoice_id,
    MIN(payer_account_id) AS payer_account_id,
    SUM(CASE WHEN is_tax = 1 THEN 0 ELSE cost_usd END) AS before_tax_usd,
    SUM(CASE WHEN is_tax = 1 THEN cost_usd ELSE 0 END) AS tax_usd,
    CAST(SUM(CASE WHEN is_tax = 0 AND cost_usd <> 0 THEN 1 ELSE 0 END) AS BIGINT) AS amounts_before_tax,
    CAST(SUM(CASE WHEN is_tax = 1 AND cost_usd <> 0 THEN 1 ELSE 0 END) AS BIGINT) AS amounts_tax
FROM amounts
GROUP BY 1, 2
ORDER BY 1, 2
