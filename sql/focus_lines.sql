-- Cost that tags gave to a tenant as FOCUS charges, one line of the bill each: `owned_lines` over the direct
-- entries. A commitment's fee is two charges: its purchase, which is billed, and what nobody used of it,
-- which is effective. Entries of `entries_apart` come as a whole instead. Costs are the ledger's: billed is
-- unblended, effective is amortized. A list price is AWS's public one where a line of usage has it; where
-- nothing says otherwise all four costs of a charge are one.
WITH lines AS (
    SELECT
        e.entry_id,
        l.product_servicecode AS service,
        l.charge_class,
        l.tenant_id,
        l.plan_id,
        l.service_component,
        l.tags,
        l.line_item_line_item_type AS line_type,
        l.commitment_line,
        l.billed_usd,
        l.amortized_cost AS effective_usd,
        l.net_amortized_cost AS net_effective_usd,
        CASE
            WHEN l.commitment_line IN ('DiscountedUsage', 'SavingsPlanCoveredUsage')
                THEN COALESCE(
                    NULLIF(l.pricing_public_on_demand_cost, 0), NULLIF(l.line_item_unblended_cost, 0),
                    l.amortized_cost
                )
            ELSE l.line_item_unblended_cost
        END AS contracted_usd,
        CASE
            WHEN l.line_item_line_item_type IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')
                THEN NULLIF(l.pricing_public_on_demand_cost, 0)
        END AS list_usd,
        COALESCE(l.line_item_usage_start_date, CAST(l.period_start AS TIMESTAMP)) AS begins,
        l.line_item_usage_end_date AS ends,
        NULLIF(TRIM(l.bill_invoice_id), '') AS invoice_id,
        NULLIF(TRIM(l.bill_payer_account_id), '') AS payer,
        NULLIF(TRIM(l.bill_payer_account_name), '') AS payer_name,
        NULLIF(TRIM(l.line_item_usage_account_id), '') AS account,
        NULLIF(TRIM(l.line_item_usage_account_name), '') AS account_name,
        NULLIF(TRIM(l.line_item_legal_entity), '') AS seller,
        NULLIF(TRIM(l.line_item_line_item_description), '') AS description,
        COALESCE(
            NULLIF(TRIM(l.product_region_code), ''), NULLIF(TRIM(l.product_region), '')
        ) AS region,
        NULLIF(TRIM(l.line_item_availability_zone), '') AS zone,
        NULLIF(TRIM(l.line_item_resource_id), '') AS resource,
        NULLIF(TRIM(l.product_product_family), '') AS family,
        NULLIF(TRIM(l.line_item_usage_type), '') AS usage_type,
        NULLIF(TRIM(l.line_item_operation), '') AS operation,
        NULLIF(TRIM(l.pricing_unit), '') AS unit,
        CAST(l.line_item_usage_amount AS DECIMAL(38, 18)) AS quantity,
        NULLIF(TRIM(l.savings_plan_savings_plan_a_r_n), '') AS plan_arn,
        NULLIF(TRIM(l.reservation_reservation_a_r_n), '') AS reservation_arn,
        CAST(l.savings_plan_total_commitment_to_date AS DECIMAL(38, 18)) AS committed_usd
    FROM owned_lines AS l
    INNER JOIN direct_entries AS e
        ON
            e.service = l.product_servicecode AND e.charge_class = l.charge_class
            AND e.tenant_id = l.tenant_id AND e.delivery_id = l.delivery_id
            AND e.service_component IS NOT DISTINCT FROM l.service_component
            AND e.plan_id IS NOT DISTINCT FROM l.plan_id
    WHERE e.entry_id NOT IN (SELECT a.entry_id FROM entries_apart AS a)
),

parts AS (
    SELECT
        l.*,
        COALESCE(l.commitment_line, '') IN (
            'RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee', 'CommitmentUpfrontFee'
        ) AS is_fee,
        FALSE AS is_unused
    FROM lines AS l
    UNION ALL
    SELECT
        l.*,
        TRUE,
        TRUE
    FROM lines AS l
    WHERE
        l.line_type IN ('RIFee', 'SavingsPlanRecurringFee')
        AND (l.effective_usd <> 0 OR l.net_effective_usd <> 0)
),

charges AS (
    SELECT
        p.*,
        CASE
            WHEN p.is_unused THEN 'Usage'
            WHEN p.line_type = 'Tax' THEN 'Tax'
            WHEN p.line_type = 'Credit' AND p.billed_usd = p.effective_usd THEN 'Credit'
            WHEN p.line_type IN ('Credit', 'Refund') OR p.line_type LIKE '%Discount' THEN 'Adjustment'
            WHEN p.is_fee OR p.line_type = 'Fee' THEN 'Purchase'
            ELSE 'Usage'
        END AS category,
        CASE
            WHEN p.is_fee OR p.commitment_line IN ('DiscountedUsage', 'SavingsPlanCoveredUsage')
                THEN COALESCE(p.plan_arn, p.reservation_arn)
        END AS commitment
    FROM parts AS p
)

SELECT
    CASE WHEN c.is_unused THEN CAST(0 AS DECIMAL(38, 18)) ELSE c.billed_usd END AS billed_cost,
    CASE WHEN c.is_fee AND NOT c.is_unused THEN CAST(0 AS DECIMAL(38, 18)) ELSE c.effective_usd END
        AS effective_cost,
    CASE WHEN c.is_fee AND NOT c.is_unused THEN CAST(0 AS DECIMAL(38, 18)) ELSE c.effective_usd END
        AS pricing_currency_effective_cost,
    CASE WHEN c.is_fee AND NOT c.is_unused THEN CAST(0 AS DECIMAL(38, 18)) ELSE c.net_effective_usd END
        AS x_net_effective_cost,
    CASE WHEN c.is_unused THEN c.effective_usd ELSE COALESCE(c.list_usd, c.contracted_usd) END AS list_cost,
    CASE WHEN c.is_unused THEN c.effective_usd ELSE c.contracted_usd END AS contracted_cost,
    COALESCE(c.payer, 'unknown') AS billing_account_id,
    c.payer_name AS billing_account_name,
    c.begins AS charge_period_start,
    CASE WHEN c.ends > c.begins THEN c.ends ELSE c.begins + INTERVAL '1' HOUR END AS charge_period_end,
    c.category AS charge_category,
    COALESCE(
        c.description, c.service || ' ' || COALESCE(c.usage_type, c.operation, c.line_type)
    ) AS charge_description,
    CASE
        WHEN c.category = 'Usage' THEN 'Usage-Based'
        WHEN c.line_type IN ('RIFee', 'SavingsPlanRecurringFee') OR c.charge_class = 'support'
            THEN 'Recurring'
        ELSE 'One-Time'
    END AS charge_frequency,
    c.invoice_id,
    c.invoice_id || '-' || COALESCE(c.payer, 'unknown') || '-' || c.category AS invoice_detail_id,
    c.seller AS publisher_name,
    s.service_name,
    s.service_category,
    s.service_subcategory,
    c.account AS sub_account_id,
    c.account_name AS sub_account_name,
    c.region AS region_id,
    c.region AS region_name,
    c.zone AS availability_zone,
    CASE WHEN c.is_unused THEN c.commitment ELSE c.resource END AS resource_id,
    CASE
        WHEN c.is_unused THEN CASE WHEN c.commitment IS NOT NULL THEN 'Commitment' END
        WHEN c.resource IS NOT NULL THEN COALESCE(c.family, s.service_name)
    END AS resource_type,
    c.tags,
    c.commitment AS commitment_discount_id,
    CASE
        WHEN c.commitment IS NOT NULL THEN CASE WHEN c.plan_arn IS NOT NULL THEN 'Spend' ELSE 'Usage' END
    END AS commitment_discount_category,
    CASE
        WHEN c.commitment IS NOT NULL
            THEN CASE WHEN c.plan_arn IS NOT NULL THEN 'Savings Plan' ELSE 'Reservation' END
    END AS commitment_discount_type,
    CASE
        WHEN c.commitment IS NOT NULL AND c.category = 'Usage'
            THEN CASE WHEN c.is_unused THEN 'Unused' ELSE 'Used' END
    END AS commitment_discount_status,
    CASE
        WHEN c.commitment IS NULL OR c.category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN c.plan_arn IS NULL THEN c.quantity
        WHEN c.category = 'Usage' THEN c.effective_usd
        ELSE COALESCE(c.committed_usd, c.billed_usd)
    END AS commitment_discount_quantity,
    CASE
        WHEN c.commitment IS NULL OR c.category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN c.plan_arn IS NOT NULL THEN 'USD'
        WHEN c.quantity IS NOT NULL THEN FOCUS_UNIT(c.unit)
    END AS commitment_discount_unit,
    CASE
        WHEN c.category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN c.commitment IS NOT NULL AND c.category = 'Usage' THEN 'Committed'
        ELSE 'Standard'
    END AS pricing_category,
    CASE
        WHEN c.category IN ('Usage', 'Purchase')
            THEN COALESCE(CASE WHEN NOT c.is_unused THEN c.quantity END, 1)
    END AS pricing_quantity,
    CASE
        WHEN c.category NOT IN ('Usage', 'Purchase') THEN NULL
        WHEN c.quantity IS NULL OR c.is_unused THEN 'Charges'
        ELSE FOCUS_UNIT(c.unit)
    END AS pricing_unit,
    CASE WHEN c.category = 'Usage' AND NOT c.is_unused THEN c.quantity END AS x_usage_quantity,
    CASE WHEN c.category = 'Usage' AND NOT c.is_unused THEN c.unit END AS x_usage_unit,
    c.service AS x_service_code,
    c.service_component AS x_service_component,
    c.charge_class AS x_cost_class,
    c.line_type AS x_line_type,
    c.usage_type AS x_usage_type,
    c.operation AS x_operation,
    c.tenant_id AS x_tenant_id,
    c.plan_id AS x_plan_id,
    c.entry_id AS x_entry_id,
    'line' AS x_grain
FROM charges AS c
INNER JOIN focus_services AS s ON s.service = c.service AND s.charge_class = c.charge_class
