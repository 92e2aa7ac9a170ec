-- Rows and cost of a delivery by one dimension at a time: what two deliveries of a month are compared by.
SELECT
    'account' AS dimension, account AS value, CAST(SUM(row_count) AS BIGINT) AS row_count,
    SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY 2
UNION ALL
SELECT
    'service' AS dimension, service AS value, CAST(SUM(row_count) AS BIGINT) AS row_count,
    SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY 2
UNION ALL
SELECT
    'invoice' AS dimension, invoice AS value, CAST(SUM(row_count) AS BIGINT) AS row_count,
    SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY 2
UNION ALL
SELECT
    'line_type' AS dimension, line_type AS value, CAST(SUM(row_count) AS BIGINT) AS row_count,
    SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY 2
UNION ALL
SELECT
    'payer' AS dimension, payer AS value, CAST(SUM(row_count) AS BIGINT) AS row_count,
    SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY 2
UNION ALL
SELECT
    'usage_day' AS dimension, CAST(usage_day AS VARCHAR) AS value,
    CAST(SUM(row_count) AS BIGINT) AS row_count, SUM(cost_usd) AS cost_usd
FROM delivered_groups
WHERE line_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage') AND usage_day IS NOT NULL
GROUP BY 2
UNION ALL
SELECT
    'payer_account' AS dimension, CONCAT(payer, '/', account) AS value,
    CAST(SUM(row_count) AS BIGINT) AS row_count, SUM(cost_usd) AS cost_usd
FROM delivered_groups
GROUP BY 2
