-- Cost of a period by AWS account: account budgets look at what AWS billed there.
SELECT
    line_item_usage_account_id AS usage_account_id,
    SUM(line_item_unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_raw
WHERE period_start = :period_start
GROUP BY 1
ORDER BY 1
