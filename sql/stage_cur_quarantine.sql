-- cur_quarantine of one delivery: the lines that cannot be booked, each with why and with what stood there.
-- raw + quarantined = delivery, in rows and cost. The caller takes the columns it writes.
SELECT
    l.*,
    CAST(:period_start AS DATE) AS period_start
FROM delivered_lines AS l
WHERE l.quarantine_code IS NOT NULL
