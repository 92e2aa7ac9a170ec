-- fact_cost_raw of one delivery: every line once, money exact, the cost views of FinOps formulas
-- (Cloud Intelligence Dashboards, summary view): unblended = amortized + true-up + upfront.
-- Net falls back to gross per row and per term. Columns that AWS added are appended by the caller.
-- A refunded savings-plan upfront fee is cash, so it stands in upfront_cost and the bridge holds.
WITH lines AS (
    SELECT
        identity_line_item_id,
        identity_time_interval,
        bill_invoice_id,
        bill_invoicing_entity,
        bill_billing_entity,
        bill_bill_type,
        bill_payer_account_id,
        bill_billing_period_start_date,
        bill_billing_period_end_date,
        line_item_usage_account_id,
        line_item_line_item_type,
        line_item_usage_start_date,
        line_item_usage_end_date,
        line_item_product_code,
        line_item_usage_type,
        line_item_operation,
        line_item_availability_zone,
        line_item_resource_id,
        line_item_usage_amount,
        line_item_normalization_factor,
        line_item_normalized_usage_amount,
        line_item_currency_code,
        line_item_unblended_rate,
        EXACT_USD(line_item_unblended_cost) AS line_item_unblended_cost,
        line_item_blended_rate,
        EXACT_USD(line_item_blended_cost) AS line_item_blended_cost,
        EXACT_USD(line_item_net_unblended_cost) AS line_item_net_unblended_cost,
        line_item_net_unblended_rate,
        line_item_line_item_description,
        line_item_tax_type,
        line_item_legal_entity,
        product_product_name,
        COALESCE(
            CASE
                WHEN
                    bill_billing_entity = 'AWS Marketplace' AND line_item_line_item_type NOT LIKE '%Discount%'
                    THEN NULLIF(TRIM(product_product_name), '')
            END,
            NULLIF(TRIM(product_servicecode), ''),
            NULLIF(TRIM(line_item_product_code), ''),
            'unknown'
        ) AS product_servicecode,
        product_product_family,
        product_instance_type,
        product_region,
        product_region_code,
        product_operating_system,
        product_sku,
        pricing_rate_id,
        pricing_currency,
        EXACT_USD(pricing_public_on_demand_cost) AS pricing_public_on_demand_cost,
        pricing_public_on_demand_rate,
        pricing_term,
        pricing_unit,
        EXACT_USD(reservation_effective_cost) AS reservation_effective_cost,
        EXACT_USD(reservation_net_effective_cost) AS reservation_net_effective_cost,
        EXACT_USD(reservation_amortized_upfront_cost_for_usage)
            AS reservation_amortized_upfront_cost_for_usage,
        EXACT_USD(reservation_amortized_upfront_fee_for_billing_period)
            AS reservation_amortized_upfront_fee_for_billing_period,
        EXACT_USD(reservation_net_amortized_upfront_fee_for_billing_period)
            AS reservation_net_amortized_upfront_fee_for_billing_period,
        EXACT_USD(reservation_unused_amortized_upfront_fee_for_billing_period)
            AS reservation_unused_amortized_upfront_fee_for_billing_period,
        EXACT_USD(reservation_net_unused_amortized_upfront_fee_for_billing_period)
            AS reservation_net_unused_amortized_upfront_fee_for_billing_period,
        EXACT_USD(reservation_unused_recurring_fee) AS reservation_unused_recurring_fee,
        EXACT_USD(reservation_net_unused_recurring_fee) AS reservation_net_unused_recurring_fee,
        EXACT_USD(reservation_recurring_fee_for_usage) AS reservation_recurring_fee_for_usage,
        reservation_reservation_a_r_n,
        reservation_subscription_id,
        EXACT_USD(savings_plan_total_commitment_to_date) AS savings_plan_total_commitment_to_date,
        EXACT_USD(savings_plan_used_commitment) AS savings_plan_used_commitment,
        EXACT_USD(savings_plan_savings_plan_effective_cost) AS savings_plan_savings_plan_effective_cost,
        EXACT_USD(savings_plan_net_savings_plan_effective_cost)
            AS savings_plan_net_savings_plan_effective_cost,
        EXACT_USD(savings_plan_amortized_upfront_commitment_for_billing_period)
            AS savings_plan_amortized_upfront_commitment_for_billing_period,
        EXACT_USD(savings_plan_net_amortized_upfront_commitment_for_billing_period)
            AS savings_plan_net_amortized_upfront_commitment_for_billing_period,
        EXACT_USD(savings_plan_recurring_commitment_for_billing_period)
            AS savings_plan_recurring_commitment_for_billing_period,
        EXACT_USD(savings_plan_net_recurring_commitment_for_billing_period)
            AS savings_plan_net_recurring_commitment_for_billing_period,
        savings_plan_savings_plan_a_r_n,
        CASE WHEN TRIM(resource_tags_user_tenant_id) <> '' THEN resource_tags_user_tenant_id END
            AS resource_tags_user_tenant_id,
        CASE WHEN TRIM(resource_tags_user_plan_id) <> '' THEN resource_tags_user_plan_id END
            AS resource_tags_user_plan_id,
        CASE
            WHEN TRIM(resource_tags_user_service_component) <> '' THEN resource_tags_user_service_component
        END AS resource_tags_user_service_component,
        CASE WHEN TRIM(resource_tags_user_name) <> '' THEN resource_tags_user_name END
            AS resource_tags_user_name,
        CASE WHEN TRIM(resource_tags_user_environment) <> '' THEN resource_tags_user_environment END
            AS resource_tags_user_environment,
        source_id,
        delivery_id,
        CAST(:period_start AS DATE) AS period_start
    FROM delivered_lines
),

typed AS (
    SELECT
        l.*,
        CASE
            WHEN bill_billing_entity = 'AWS Marketplace' THEN 'marketplace'
            WHEN line_item_line_item_type = 'Tax' THEN 'tax'
            WHEN line_item_line_item_type = 'Credit' THEN 'credit'
            WHEN line_item_line_item_type = 'Refund' THEN 'refund'
            WHEN
                line_item_product_code LIKE 'AWSSupport%' OR line_item_product_code LIKE 'OCBPremiumSupport%'
                OR line_item_product_code IN ('AWSPremiumSupport', 'AWSDeveloperSupport')
                THEN 'support'
            WHEN
                line_item_line_item_type IN ('RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee')
                OR (line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> '')
                THEN 'commitment_fee'
            WHEN line_item_line_item_type LIKE '%Discount' THEN 'discount'
            ELSE 'usage'
        END AS charge_class,
        CASE
            WHEN
                line_item_line_item_type IN (
                    'SavingsPlanCoveredUsage', 'SavingsPlanNegation',
                    'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee', 'DiscountedUsage', 'RIFee'
                )
                THEN line_item_line_item_type
            WHEN line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> ''
                THEN 'ReservationUpfrontFee'
            WHEN
                line_item_line_item_type = 'Refund'
                AND line_item_line_item_description LIKE 'Refund for one-time fee for Savings Plan ID%'
                THEN 'SavingsPlanUpfrontRefund'
        END AS commitment_line,
        COALESCE(line_item_net_unblended_cost, line_item_unblended_cost) AS net_unblended_cost
    FROM lines AS l
)

SELECT
    t.*,
    CASE commitment_line
        WHEN 'SavingsPlanCoveredUsage' THEN COALESCE(savings_plan_savings_plan_effective_cost, 0)
        WHEN 'SavingsPlanNegation' THEN 0
        WHEN 'SavingsPlanRecurringFee'
            THEN
                COALESCE(savings_plan_total_commitment_to_date, 0) - COALESCE(savings_plan_used_commitment, 0)
        WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'SavingsPlanUpfrontRefund' THEN 0
        WHEN 'DiscountedUsage' THEN COALESCE(reservation_effective_cost, 0)
        WHEN 'RIFee'
            THEN
                COALESCE(reservation_unused_amortized_upfront_fee_for_billing_period, 0)
                + COALESCE(reservation_unused_recurring_fee, 0)
        WHEN 'ReservationUpfrontFee' THEN 0
        ELSE line_item_unblended_cost
    END AS amortized_cost,
    CASE commitment_line
        WHEN 'SavingsPlanCoveredUsage'
            THEN COALESCE(
                savings_plan_net_savings_plan_effective_cost, savings_plan_savings_plan_effective_cost, 0
            )
        WHEN 'SavingsPlanNegation' THEN 0
        WHEN 'SavingsPlanRecurringFee'
            THEN
                COALESCE(savings_plan_total_commitment_to_date, 0) - COALESCE(savings_plan_used_commitment, 0)
        WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'SavingsPlanUpfrontRefund' THEN 0
        WHEN 'DiscountedUsage' THEN COALESCE(reservation_net_effective_cost, reservation_effective_cost, 0)
        WHEN 'RIFee'
            THEN COALESCE(
                reservation_net_unused_amortized_upfront_fee_for_billing_period,
                reservation_unused_amortized_upfront_fee_for_billing_period, 0
            ) + COALESCE(reservation_net_unused_recurring_fee, reservation_unused_recurring_fee, 0)
        WHEN 'ReservationUpfrontFee' THEN 0
        ELSE net_unblended_cost
    END AS net_amortized_cost,
    CASE commitment_line
        WHEN 'SavingsPlanRecurringFee'
            THEN -COALESCE(savings_plan_amortized_upfront_commitment_for_billing_period, 0)
        WHEN 'RIFee' THEN -COALESCE(reservation_amortized_upfront_fee_for_billing_period, 0)
        ELSE CAST(0 AS DECIMAL(38, 18))
    END AS true_up_cost,
    CASE
        WHEN commitment_line IN ('SavingsPlanUpfrontFee', 'ReservationUpfrontFee', 'SavingsPlanUpfrontRefund')
            THEN line_item_unblended_cost
        ELSE CAST(0 AS DECIMAL(38, 18))
    END AS upfront_cost
FROM typed AS t
