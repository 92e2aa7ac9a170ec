-- What the lines of each direct entry cost, to be held against the entry, and the invoice of all of them.
SELECT
    x_entry_id AS entry_id,
    CASE
        WHEN COUNT(invoice_id) = COUNT(*) AND MIN(invoice_id) = MAX(invoice_id) THEN MIN(invoice_id)
    END AS invoice_id,
    CASE
        WHEN MIN(billing_account_id) = MAX(billing_account_id) THEN MIN(billing_account_id)
    END AS payer,
    SUM(billed_cost) AS billed_usd,
    SUM(effective_cost) AS effective_usd,
    SUM(x_net_effective_cost) AS net_effective_usd
FROM focus_direct
GROUP BY 1
ORDER BY 1
