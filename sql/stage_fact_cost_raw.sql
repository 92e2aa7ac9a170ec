-- fact_cost_raw of one delivery: every line once, money exact, the cost views of FinOps formulas
-- (Cloud Intelligence Dashboards, summary view): unblended = amortized + true-up + upfront.
-- Net falls back to gross per row and per term. The caller takes the columns it writes, those that AWS
-- added among them; `service` is never empty and becomes product_servicecode.
-- A refunded savings-plan upfront fee is cash, so it stands in upfront_cost and the bridge holds.
-- Split cost allocation rows repeat their parent's cost: only what they cost themselves (nothing) counts.
WITH typed AS (
    SELECT
        l.*,
        CAST(:period_start AS DATE) AS period_start,
        COALESCE(
            CASE
                WHEN
                    bill_billing_entity = 'AWS Marketplace' AND line_item_line_item_type NOT LIKE '%Discount%'
                    THEN NULLIF(TRIM(product_product_name), '')
            END,
            NULLIF(TRIM(product_servicecode), ''),
            NULLIF(TRIM(line_item_product_code), ''),
            'unknown'
        ) AS service,
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
                COALESCE(split_line_item_parent_resource_id, '') <> ''
                OR line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2')
                THEN NULL
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
    FROM delivered_lines AS l
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
