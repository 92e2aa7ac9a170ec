-- The accounts that each source has lines of, with their payer.
SELECT DISTINCT
    source_id,
    line_item_usage_account_id AS usage_account_id,
    NULLIF(bill_payer_account_id, '') AS payer_account_id
FROM measured_lines
WHERE quarantine_code IS NULL
