-- The lens: fact_cost_raw of one delivery, every line once, money exact, the cost views of FinOps formulas
-- (Cloud Intelligence Dashboards, summary view): unblended = amortized + true-up + upfront.
-- Net falls back to gross per row and per term. The caller takes the columns it writes, those that AWS
-- added among them; `service` is never empty and becomes product_servicecode.
-- A commitment's purchase and its refund are cash, so they stand in upfront_cost and the bridge holds. They
-- are known by the reservation or savings plan that they name; AWS's sentence is asked where they name none.
-- A month that was closed under the first revision of the rules is made again by those (revision.py).
-- The caller gives net_unused_commitments: what of a discounted fee's net commitment was left unused.
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
            WHEN :first_revision
                THEN
                    CASE
                        WHEN line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> ''
                            THEN 'CommitmentUpfrontFee'
                        WHEN
                            line_item_line_item_type = 'Refund'
                            AND line_item_line_item_description
                            LIKE 'Refund for one-time fee for Savings Plan ID%'
                            THEN 'CommitmentUpfrontRefund'
                    END
            WHEN
                line_item_line_item_type IN ('Fee', 'Refund', 'Credit')
                AND SAYS_PURCHASE(line_item_line_item_description)
                THEN
                    CASE line_item_line_item_type
                        WHEN 'Fee' THEN 'CommitmentUpfrontFee' ELSE 'CommitmentUpfrontRefund'
                    END
            WHEN
                line_item_line_item_type IN ('Fee', 'Refund', 'Credit')
                AND (
                    reservation_reservation_a_r_n <> '' OR savings_plan_savings_plan_a_r_n <> ''
                    OR IS_COMMITMENT(line_item_resource_id)
                )
                THEN
                    CASE
                        WHEN line_item_line_item_type = 'Fee' THEN 'CommitmentUpfrontFee'
                        WHEN SAYS_UPFRONT(line_item_line_item_description) THEN 'CommitmentUpfrontRefund'
                        WHEN
                            SAYS_RECURRING(line_item_line_item_description)
                            OR savings_plan_payment_option = 'No Upfront'
                            OR pricing_purchase_option = 'No Upfront'
                            THEN 'CommitmentFeeRefund'
                        WHEN line_item_line_item_type = 'Refund' OR bill_bill_type IN ('Purchase', 'Refund')
                            THEN 'CommitmentUpfrontRefund'
                        ELSE 'CommitmentFeeRefund'
                    END
        END AS commitment_line,
        COALESCE(line_item_net_unblended_cost, line_item_unblended_cost) AS net_unblended_cost,
        COALESCE(savings_plan_total_commitment_to_date, 0) - COALESCE(savings_plan_used_commitment, 0)
            AS unused_commitment,
        COALESCE(
            CASE
                WHEN savings_plan_net_recurring_commitment_for_billing_period IS NOT NULL
                    THEN savings_plan_recurring_commitment_for_billing_period
            END,
            line_item_unblended_cost
        ) + COALESCE(savings_plan_amortized_upfront_commitment_for_billing_period, 0) AS gross_commitment,
        COALESCE(
            savings_plan_net_recurring_commitment_for_billing_period, line_item_net_unblended_cost,
            line_item_unblended_cost
        ) + COALESCE(
            savings_plan_net_amortized_upfront_commitment_for_billing_period,
            savings_plan_amortized_upfront_commitment_for_billing_period, 0
        ) AS net_commitment
    FROM delivered_lines AS l
)

SELECT
    t.*,
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
            OR commitment_line = 'CommitmentUpfrontFee'
            THEN 'commitment_fee'
        WHEN line_item_line_item_type LIKE '%Discount' THEN 'discount'
        ELSE 'usage'
    END AS charge_class,
    CASE commitment_line
        WHEN 'SavingsPlanCoveredUsage' THEN COALESCE(savings_plan_savings_plan_effective_cost, 0)
        WHEN 'SavingsPlanNegation' THEN 0
        WHEN 'SavingsPlanRecurringFee' THEN t.unused_commitment
        WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'DiscountedUsage' THEN COALESCE(reservation_effective_cost, 0)
        WHEN 'RIFee'
            THEN
                COALESCE(reservation_unused_amortized_upfront_fee_for_billing_period, 0)
                + COALESCE(reservation_unused_recurring_fee, 0)
        WHEN 'CommitmentUpfrontFee' THEN 0
        WHEN 'CommitmentUpfrontRefund' THEN 0
        ELSE line_item_unblended_cost
    END AS amortized_cost,
    CASE commitment_line
        WHEN 'SavingsPlanCoveredUsage'
            THEN COALESCE(
                savings_plan_net_savings_plan_effective_cost, savings_plan_savings_plan_effective_cost, 0
            )
        WHEN 'SavingsPlanNegation' THEN 0
        WHEN 'SavingsPlanRecurringFee' THEN COALESCE(u.net_unused_usd, t.unused_commitment)
        WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'DiscountedUsage' THEN COALESCE(reservation_net_effective_cost, reservation_effective_cost, 0)
        WHEN 'RIFee'
            THEN COALESCE(
                reservation_net_unused_amortized_upfront_fee_for_billing_period,
                reservation_unused_amortized_upfront_fee_for_billing_period, 0
            ) + COALESCE(reservation_net_unused_recurring_fee, reservation_unused_recurring_fee, 0)
        WHEN 'CommitmentUpfrontFee' THEN 0
        WHEN 'CommitmentUpfrontRefund' THEN 0
        ELSE net_unblended_cost
    END AS net_amortized_cost,
    CASE commitment_line
        WHEN 'SavingsPlanRecurringFee'
            THEN -COALESCE(savings_plan_amortized_upfront_commitment_for_billing_period, 0)
        WHEN 'RIFee' THEN -COALESCE(reservation_amortized_upfront_fee_for_billing_period, 0)
        ELSE CAST(0 AS DECIMAL(38, 18))
    END AS true_up_cost,
    CASE
        WHEN commitment_line IN ('SavingsPlanUpfrontFee', 'CommitmentUpfrontFee', 'CommitmentUpfrontRefund')
            THEN line_item_unblended_cost
        ELSE CAST(0 AS DECIMAL(38, 18))
    END AS upfront_cost,
    CASE commitment_line
        WHEN 'SavingsPlanRecurringFee'
            THEN -COALESCE(
                savings_plan_net_amortized_upfront_commitment_for_billing_period,
                savings_plan_amortized_upfront_commitment_for_billing_period, 0
            )
        WHEN 'RIFee'
            THEN -COALESCE(
                reservation_net_amortized_upfront_fee_for_billing_period,
                reservation_amortized_upfront_fee_for_billing_period, 0
            )
        ELSE CAST(0 AS DECIMAL(38, 18))
    END AS net_true_up_cost,
    CASE
        WHEN commitment_line IN ('SavingsPlanUpfrontFee', 'CommitmentUpfrontFee', 'CommitmentUpfrontRefund')
            THEN net_unblended_cost
        ELSE CAST(0 AS DECIMAL(38, 18))
    END AS net_upfront_cost
FROM typed AS t
LEFT JOIN net_unused_commitments AS u
    ON
        t.commitment_line = 'SavingsPlanRecurringFee'
        AND u.unused_usd = t.unused_commitment
        AND u.gross_usd = t.gross_commitment
        AND u.net_usd = t.net_commitment
