-- The groups of a delivery in one row: its totals, every reason to refuse it, what is worth a warning.
SELECT
    COALESCE(CAST(SUM(row_count) AS BIGINT), 0) AS row_count,
    COALESCE(SUM(cost_usd), 0) AS cost_usd,
    COALESCE(CAST(SUM(CASE WHEN currency NOT IN ('USD', '') THEN row_count ELSE 0 END) AS BIGINT), 0)
        AS other_currency_rows,
    MIN(CASE WHEN currency NOT IN ('USD', '') THEN currency END) AS other_currency,
    COALESCE(CAST(SUM(CASE WHEN currency = '' THEN row_count ELSE 0 END) AS BIGINT), 0)
        AS no_currency_rows,
    COALESCE(CAST(SUM(
        CASE
            WHEN billing_period_start IS NULL OR billing_period_start <> CAST(:period_start AS DATE)
                THEN row_count
            ELSE 0
        END
    ) AS BIGINT), 0) AS other_period_rows,
    COALESCE(CAST(SUM(
        CASE
            WHEN bill_type = 'Anniversary' AND billing_entity <> '' AND invoice = '' THEN row_count ELSE 0
        END
    ) AS BIGINT), 0) AS rows_without_invoice,
    COALESCE(CAST(SUM(
        CASE
            WHEN
                line_type = 'Usage'
                AND (
                    usage_day < CAST(:period_start AS DATE) OR usage_day >= CAST(:period_end AS DATE)
                )
                THEN row_count
            ELSE 0
        END
    ) AS BIGINT), 0) AS outside_rows,
    COALESCE(CAST(SUM(
        CASE
            WHEN line_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage') THEN negative_rows
            ELSE 0
        END
    ) AS BIGINT), 0) AS negative_usage_rows,
    COALESCE(SUM(
        CASE
            WHEN line_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage') THEN negative_usd
            ELSE 0
        END
    ), 0) AS negative_usage_usd,
    COALESCE(CAST(SUM(lost_rows) AS BIGINT), 0) AS lost_rows,
    MAX(CASE WHEN line_type = 'Usage' THEN newest_usage_at END) AS newest_usage_at
FROM delivered_groups
