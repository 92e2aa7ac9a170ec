-- Reservations and savings plans of a month at amortised cost: what each service and tenant used of them, and
-- what their fees left unused (is_fee). billed_usd is what the fee says that it costs: recurring and the
-- month's part of what was paid upfront. on_demand_usd is what the covered usage would have cost without.
SELECT
    COALESCE(NULLIF(l.savings_plan_savings_plan_a_r_n, ''), l.reservation_reservation_a_r_n) AS commitment,
    l.commitment_line IN ('SavingsPlanRecurringFee', 'RIFee') AS is_fee,
    l.product_servicecode AS service,
    o.tenant_id,
    SUM(l.amortized_cost) AS amortized_usd,
    SUM(
        CASE
            WHEN l.commitment_line IN ('SavingsPlanRecurringFee', 'RIFee')
                THEN l.line_item_unblended_cost - l.true_up_cost
            ELSE 0
        END
    ) AS billed_usd,
    SUM(
        CASE l.commitment_line
            WHEN 'SavingsPlanCoveredUsage'
                THEN COALESCE(l.pricing_public_on_demand_cost, l.line_item_unblended_cost)
            WHEN 'DiscountedUsage' THEN COALESCE(l.pricing_public_on_demand_cost, 0)
            ELSE 0
        END
    ) AS on_demand_usd
FROM single_cost_lines AS l
LEFT JOIN resource_tenants AS r ON r.resource_id = l.untagged_resource
LEFT JOIN line_owners AS o
    ON
        o.usage_slice = l.usage_slice
        AND o.account_id IS NOT DISTINCT FROM l.line_item_usage_account_id
        AND o.component_tag IS NOT DISTINCT FROM l.component_tag
        AND o.resource_tenant IS NOT DISTINCT FROM l.resource_tenant
        AND o.account_tenant IS NOT DISTINCT FROM l.account_tenant
        AND o.category_tenant IS NOT DISTINCT FROM l.category_tenant
        AND o.inherited_tenant IS NOT DISTINCT FROM r.inherited_tenant
        AND o.resource_plan IS NOT DISTINCT FROM l.resource_plan
        AND o.account_plan IS NOT DISTINCT FROM l.account_plan
        AND o.category_plan IS NOT DISTINCT FROM l.category_plan
WHERE
    l.period_start = :period_start
    AND l.line_item_line_item_type IN (
        'SavingsPlanCoveredUsage', 'DiscountedUsage', 'SavingsPlanRecurringFee', 'RIFee'
    )
    AND l.commitment_line IS NOT NULL
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
