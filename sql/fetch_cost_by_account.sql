-- Cost of a period by AWS account: account budgets look at what AWS billed there. Usage apart.
SELECT
    'account' AS scope_type,
    line_item_usage_account_id AS scope_value,
    SUM(line_item_unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd,
    SUM(
        CASE
            WHEN
                line_item_line_item_type IN (
                    'Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation'
                )
                THEN line_item_unblended_cost
            ELSE 0
        END
    ) AS usage_unblended_usd,
    SUM(
        CASE
            WHEN
                line_item_line_item_type IN (
                    'Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation'
                )
                THEN amortized_cost
            ELSE 0
        END
    ) AS usage_amortized_usd,
    SUM(
        CASE
            WHEN
                line_item_line_item_type IN (
                    'Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation'
                )
                THEN net_amortized_cost
            ELSE 0
        END
    ) AS usage_net_amortized_usd
FROM alike_lines
WHERE period_start = :period_start
GROUP BY 2
ORDER BY 2
