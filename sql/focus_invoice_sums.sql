-- The lines of each invoice, as the charges on it add up.
SELECT
    invoice_detail_id,
    invoice_id,
    billing_account_id,
    billing_currency,
    charge_category,
    SUM(billed_usd) AS billed_usd
FROM focus_charges
WHERE invoice_detail_id IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
