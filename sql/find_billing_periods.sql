-- The billing months that a delivery's lines name: one, in a month's own files.
SELECT DISTINCT CAST(bill_billing_period_start_date AS DATE) AS billing_period
FROM delivered_lines
LIMIT 13
