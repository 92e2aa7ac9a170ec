/* fact_cost_raw and cur_quarantine over the files that the lake keeps, for Trino. */
/* Run it in a schema of its own in a Hive catalog: every name is one of that schema. */
/* The other tables of the lake are Iceberg tables of the same names in the schema cops, apart from these. */
/* The wording of quarantine_reason is the engine's own, every other value that of `cops sql`. */
/* Hive reads times to the millisecond; with hive.timestamp-precision=MICROSECONDS declare timestamp(6). INT96 */
/* times need hive.parquet.time-zone=UTC. */
CREATE TABLE IF NOT EXISTS fact_cost_raw_RUN_files (
  "bill_invoice_id" VARCHAR,
  "bill_bill_type" VARCHAR,
  "bill_billing_entity" VARCHAR,
  "bill_billing_period_start_date" TIMESTAMP,
  "line_item_usage_start_date" TIMESTAMP,
  "line_item_product_code" VARCHAR,
  "line_item_currency_code" VARCHAR,
  "line_item_line_item_type" VARCHAR,
  "product_servicecode" VARCHAR,
  "line_item_usage_account_id" VARCHAR,
  "line_item_unblended_cost" DOUBLE,
  "identity_line_item_id" VARCHAR,
  "reservation_effective_cost" DOUBLE,
  "savings_plan_savings_plan_effective_cost" DOUBLE,
  "product" MAP(VARCHAR, VARCHAR),
  "resource_tags" MAP(VARCHAR, VARCHAR)
)
WITH (
  external_location='FOLDER',
  format='PARQUET'
);

(
  SELECT
    CAST("identity_line_item_id" AS VARCHAR) AS "identity_line_item_id",
    CAST(NULL AS VARCHAR) AS "identity_time_interval",
    CAST("bill_invoice_id" AS VARCHAR) AS "bill_invoice_id",
    CAST(NULL AS VARCHAR) AS "bill_invoicing_entity",
    CAST("bill_billing_entity" AS VARCHAR) AS "bill_billing_entity",
    CAST("bill_bill_type" AS VARCHAR) AS "bill_bill_type",
    CAST(NULL AS VARCHAR) AS "bill_payer_account_id",
    CAST("bill_billing_period_start_date" AS TIMESTAMP(6)) AS "bill_billing_period_start_date",
    CAST(NULL AS TIMESTAMP(6)) AS "bill_billing_period_end_date",
    CAST("line_item_usage_account_id" AS VARCHAR) AS "line_item_usage_account_id",
    CAST("line_item_line_item_type" AS VARCHAR) AS "line_item_line_item_type",
    CAST("line_item_usage_start_date" AS TIMESTAMP(6)) AS "line_item_usage_start_date",
    CAST(NULL AS TIMESTAMP(6)) AS "line_item_usage_end_date",
    CAST("line_item_product_code" AS VARCHAR) AS "line_item_product_code",
    CAST(NULL AS VARCHAR) AS "line_item_usage_type",
    CAST(NULL AS VARCHAR) AS "line_item_operation",
    CAST(NULL AS VARCHAR) AS "line_item_availability_zone",
    CAST(NULL AS VARCHAR) AS "line_item_resource_id",
    CAST(NULL AS DOUBLE) AS "line_item_usage_amount",
    CAST(NULL AS DOUBLE) AS "line_item_normalization_factor",
    CAST(NULL AS DOUBLE) AS "line_item_normalized_usage_amount",
    CAST("line_item_currency_code" AS VARCHAR) AS "line_item_currency_code",
    CAST(NULL AS VARCHAR) AS "line_item_unblended_rate",
    CAST(COALESCE(
      (
        CASE
          WHEN "line_item_unblended_cost" IS NULL
          THEN NULL
          WHEN CAST(TRY_CAST("line_item_unblended_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "line_item_unblended_cost"
          THEN CAST(TRY_CAST("line_item_unblended_cost" AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
          WHEN CAST(CAST(TRY_CAST(CASE
            WHEN NOT "line_item_unblended_cost" IS NULL
            THEN FORMAT('%s', "line_item_unblended_cost")
          END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "line_item_unblended_cost"
          THEN TRY_CAST(CASE
            WHEN NOT "line_item_unblended_cost" IS NULL
            THEN FORMAT('%s', "line_item_unblended_cost")
          END AS DECIMAL(38, 18))
        END
      ),
      CASE WHEN FALSE THEN CAST(0 AS DECIMAL(38, 18)) END
    ) AS DECIMAL(38, 18)) AS "line_item_unblended_cost",
    CAST(NULL AS VARCHAR) AS "line_item_blended_rate",
    CAST(NULL AS DECIMAL(38, 18)) AS "line_item_blended_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "line_item_net_unblended_cost",
    CAST(NULL AS VARCHAR) AS "line_item_net_unblended_rate",
    CAST(NULL AS VARCHAR) AS "line_item_line_item_description",
    CAST(NULL AS VARCHAR) AS "line_item_tax_type",
    CAST(NULL AS VARCHAR) AS "line_item_legal_entity",
    CAST(ELEMENT_AT("product", 'product_name') AS VARCHAR) AS "product_product_name",
    CAST("product_servicecode" AS VARCHAR) AS "product_servicecode",
    CAST(NULL AS VARCHAR) AS "product_product_family",
    CAST(NULL AS VARCHAR) AS "product_instance_type",
    CAST(ELEMENT_AT("product", 'region') AS VARCHAR) AS "product_region",
    CAST(NULL AS VARCHAR) AS "product_region_code",
    CAST(NULL AS VARCHAR) AS "product_operating_system",
    CAST(NULL AS VARCHAR) AS "product_sku",
    CAST(NULL AS VARCHAR) AS "pricing_rate_id",
    CAST(NULL AS VARCHAR) AS "pricing_currency",
    CAST(NULL AS DECIMAL(38, 18)) AS "pricing_public_on_demand_cost",
    CAST(NULL AS VARCHAR) AS "pricing_public_on_demand_rate",
    CAST(NULL AS VARCHAR) AS "pricing_term",
    CAST(NULL AS VARCHAR) AS "pricing_unit",
    CAST((
      CASE
        WHEN "reservation_effective_cost" IS NULL
        THEN NULL
        WHEN CAST(TRY_CAST("reservation_effective_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "reservation_effective_cost"
        THEN CAST(TRY_CAST("reservation_effective_cost" AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
        WHEN CAST(CAST(TRY_CAST(CASE
          WHEN NOT "reservation_effective_cost" IS NULL
          THEN FORMAT('%s', "reservation_effective_cost")
        END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "reservation_effective_cost"
        THEN TRY_CAST(CASE
          WHEN NOT "reservation_effective_cost" IS NULL
          THEN FORMAT('%s', "reservation_effective_cost")
        END AS DECIMAL(38, 18))
      END
    ) AS DECIMAL(38, 18)) AS "reservation_effective_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_effective_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_amortized_upfront_cost_for_usage",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_amortized_upfront_fee_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_amortized_upfront_fee_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_unused_amortized_upfront_fee_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_unused_recurring_fee",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_unused_recurring_fee",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_recurring_fee_for_usage",
    CAST(NULL AS VARCHAR) AS "reservation_reservation_a_r_n",
    CAST(NULL AS VARCHAR) AS "reservation_subscription_id",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_total_commitment_to_date",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_used_commitment",
    CAST((
      CASE
        WHEN "savings_plan_savings_plan_effective_cost" IS NULL
        THEN NULL
        WHEN CAST(TRY_CAST("savings_plan_savings_plan_effective_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "savings_plan_savings_plan_effective_cost"
        THEN CAST(TRY_CAST("savings_plan_savings_plan_effective_cost" AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
        WHEN CAST(CAST(TRY_CAST(CASE
          WHEN NOT "savings_plan_savings_plan_effective_cost" IS NULL
          THEN FORMAT('%s', "savings_plan_savings_plan_effective_cost")
        END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "savings_plan_savings_plan_effective_cost"
        THEN TRY_CAST(CASE
          WHEN NOT "savings_plan_savings_plan_effective_cost" IS NULL
          THEN FORMAT('%s', "savings_plan_savings_plan_effective_cost")
        END AS DECIMAL(38, 18))
      END
    ) AS DECIMAL(38, 18)) AS "savings_plan_savings_plan_effective_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_net_savings_plan_effective_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_amortized_upfront_commitment_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_net_amortized_upfront_commitment_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_recurring_commitment_for_billing_period",
    CAST(NULL AS DECIMAL(38, 18)) AS "savings_plan_net_recurring_commitment_for_billing_period",
    CAST(NULL AS VARCHAR) AS "savings_plan_savings_plan_a_r_n",
    CAST(CASE
      WHEN REGEXP_REPLACE(
        CAST(CASE
          WHEN FALSE
          OR COALESCE(
            NULLIF(
              REGEXP_REPLACE(
                CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                '\A\p{Zs}+|\p{Zs}+\z',
                ''
              ),
              ''
            ) <> COALESCE(
              NULLIF(
                REGEXP_REPLACE(
                  CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR),
                  '\A\p{Zs}+|\p{Zs}+\z',
                  ''
                ),
                ''
              ),
              NULLIF(
                REGEXP_REPLACE(
                  CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                  '\A\p{Zs}+|\p{Zs}+\z',
                  ''
                ),
                ''
              )
            ),
            FALSE
          )
          THEN SUBSTR(
            CONCAT(
              'E-TAG-CLASH ',
              CAST(ARRAY_JOIN(
                ARRAY_SORT(
                  ARRAY_DISTINCT(
                    ARRAY[NULLIF(
                      REGEXP_REPLACE(
                        CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR),
                        '\A\p{Zs}+|\p{Zs}+\z',
                        ''
                      ),
                      ''
                    ), NULLIF(
                      REGEXP_REPLACE(
                        CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                        '\A\p{Zs}+|\p{Zs}+\z',
                        ''
                      ),
                      ''
                    )]
                  )
                ),
                ' | '
              ) AS VARCHAR)
            ),
            1,
            256
          )
          ELSE COALESCE(
            CASE
              WHEN NOT NULLIF(
                REGEXP_REPLACE(
                  CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR),
                  '\A\p{Zs}+|\p{Zs}+\z',
                  ''
                ),
                ''
              ) IS NULL
              THEN CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR)
            END,
            CASE
              WHEN NOT NULLIF(
                REGEXP_REPLACE(
                  CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                  '\A\p{Zs}+|\p{Zs}+\z',
                  ''
                ),
                ''
              ) IS NULL
              THEN CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR)
            END
          )
        END AS VARCHAR),
        '\A\p{Zs}+|\p{Zs}+\z',
        ''
      ) <> ''
      THEN CAST(CASE
        WHEN FALSE
        OR COALESCE(
          NULLIF(
            REGEXP_REPLACE(
              CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
              '\A\p{Zs}+|\p{Zs}+\z',
              ''
            ),
            ''
          ) <> COALESCE(
            NULLIF(
              REGEXP_REPLACE(
                CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR),
                '\A\p{Zs}+|\p{Zs}+\z',
                ''
              ),
              ''
            ),
            NULLIF(
              REGEXP_REPLACE(
                CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                '\A\p{Zs}+|\p{Zs}+\z',
                ''
              ),
              ''
            )
          ),
          FALSE
        )
        THEN SUBSTR(
          CONCAT(
            'E-TAG-CLASH ',
            CAST(ARRAY_JOIN(
              ARRAY_SORT(
                ARRAY_DISTINCT(
                  ARRAY[NULLIF(
                    REGEXP_REPLACE(
                      CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR),
                      '\A\p{Zs}+|\p{Zs}+\z',
                      ''
                    ),
                    ''
                  ), NULLIF(
                    REGEXP_REPLACE(
                      CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                      '\A\p{Zs}+|\p{Zs}+\z',
                      ''
                    ),
                    ''
                  )]
                )
              ),
              ' | '
            ) AS VARCHAR)
          ),
          1,
          256
        )
        ELSE COALESCE(
          CASE
            WHEN NOT NULLIF(
              REGEXP_REPLACE(
                CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR),
                '\A\p{Zs}+|\p{Zs}+\z',
                ''
              ),
              ''
            ) IS NULL
            THEN CAST(ELEMENT_AT("resource_tags", 'user_Tenant_id') AS VARCHAR)
          END,
          CASE
            WHEN NOT NULLIF(
              REGEXP_REPLACE(
                CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR),
                '\A\p{Zs}+|\p{Zs}+\z',
                ''
              ),
              ''
            ) IS NULL
            THEN CAST(ELEMENT_AT("resource_tags", 'user_tenant_id') AS VARCHAR)
          END
        )
      END AS VARCHAR)
    END AS VARCHAR) AS "resource_tags_user_tenant_id",
    CAST(CASE
      WHEN REGEXP_REPLACE(
        CAST(ELEMENT_AT("resource_tags", 'user_plan_id') AS VARCHAR),
        '\A\p{Zs}+|\p{Zs}+\z',
        ''
      ) <> ''
      THEN CAST(ELEMENT_AT("resource_tags", 'user_plan_id') AS VARCHAR)
    END AS VARCHAR) AS "resource_tags_user_plan_id",
    CAST(CASE
      WHEN REGEXP_REPLACE(
        CAST(ELEMENT_AT("resource_tags", 'user_service_component') AS VARCHAR),
        '\A\p{Zs}+|\p{Zs}+\z',
        ''
      ) <> ''
      THEN CAST(ELEMENT_AT("resource_tags", 'user_service_component') AS VARCHAR)
    END AS VARCHAR) AS "resource_tags_user_service_component",
    CAST(NULL AS VARCHAR) AS "resource_tags_user_name",
    CAST(NULL AS VARCHAR) AS "resource_tags_user_environment",
    CAST(NULL AS VARCHAR) AS "bill_payer_account_name",
    CAST(NULL AS VARCHAR) AS "line_item_usage_account_name",
    CAST(NULL AS VARCHAR) AS "line_item_iam_principal",
    CAST(NULL AS VARCHAR) AS "pricing_lease_contract_length",
    CAST(NULL AS VARCHAR) AS "pricing_offering_class",
    CAST(NULL AS VARCHAR) AS "pricing_purchase_option",
    CAST(NULL AS VARCHAR) AS "pricing_rate_code",
    CAST(NULL AS VARCHAR) AS "product_comment",
    CAST(NULL AS VARCHAR) AS "product_fee_code",
    CAST(NULL AS VARCHAR) AS "product_fee_description",
    CAST(NULL AS VARCHAR) AS "product_from_location",
    CAST(NULL AS VARCHAR) AS "product_from_location_type",
    CAST(NULL AS VARCHAR) AS "product_from_region_code",
    CAST(NULL AS VARCHAR) AS "product_instance_family",
    CAST(NULL AS VARCHAR) AS "product_instancesku",
    CAST(NULL AS VARCHAR) AS "product_location",
    CAST(NULL AS VARCHAR) AS "product_location_type",
    CAST(NULL AS VARCHAR) AS "product_operation",
    CAST(NULL AS VARCHAR) AS "product_pricing_unit",
    CAST(NULL AS VARCHAR) AS "product_to_location",
    CAST(NULL AS VARCHAR) AS "product_to_location_type",
    CAST(NULL AS VARCHAR) AS "product_to_region_code",
    CAST(NULL AS VARCHAR) AS "product_usagetype",
    CAST(NULL AS VARCHAR) AS "reservation_availability_zone",
    CAST(NULL AS VARCHAR) AS "reservation_end_time",
    CAST(NULL AS VARCHAR) AS "reservation_modification_status",
    CAST(NULL AS VARCHAR) AS "reservation_normalized_units_per_reservation",
    CAST(NULL AS VARCHAR) AS "reservation_number_of_reservations",
    CAST(NULL AS VARCHAR) AS "reservation_start_time",
    CAST(NULL AS VARCHAR) AS "reservation_total_reserved_normalized_units",
    CAST(NULL AS VARCHAR) AS "reservation_total_reserved_units",
    CAST(NULL AS VARCHAR) AS "reservation_units_per_reservation",
    CAST(NULL AS VARCHAR) AS "savings_plan_end_time",
    CAST(NULL AS VARCHAR) AS "savings_plan_instance_type_family",
    CAST(NULL AS VARCHAR) AS "savings_plan_offering_type",
    CAST(NULL AS VARCHAR) AS "savings_plan_payment_option",
    CAST(NULL AS VARCHAR) AS "savings_plan_purchase_term",
    CAST(NULL AS VARCHAR) AS "savings_plan_region",
    CAST(NULL AS VARCHAR) AS "savings_plan_savings_plan_rate",
    CAST(NULL AS VARCHAR) AS "savings_plan_start_time",
    CAST(NULL AS VARCHAR) AS "split_line_item_parent_resource_id",
    CAST(NULL AS VARCHAR) AS "account_tag_tenant_id",
    CAST(NULL AS VARCHAR) AS "account_tag_plan_id",
    CAST(NULL AS VARCHAR) AS "cost_category_tenant_id",
    CAST(NULL AS DOUBLE) AS "reservation_unused_normalized_unit_quantity",
    CAST(NULL AS DOUBLE) AS "reservation_unused_quantity",
    CAST(NULL AS DOUBLE) AS "split_line_item_actual_usage",
    CAST(NULL AS DOUBLE) AS "split_line_item_reserved_usage",
    CAST(NULL AS DOUBLE) AS "split_line_item_split_usage",
    CAST(NULL AS DOUBLE) AS "split_line_item_split_usage_ratio",
    CAST(NULL AS DECIMAL(38, 18)) AS "discount_bundled_discount",
    CAST(NULL AS DECIMAL(38, 18)) AS "discount_total_discount",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_amortized_upfront_cost_for_usage",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_recurring_fee_for_usage",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_net_upfront_value",
    CAST(NULL AS DECIMAL(38, 18)) AS "reservation_upfront_value",
    CAST(NULL AS DECIMAL(38, 18)) AS "split_line_item_net_split_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "split_line_item_net_unused_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "split_line_item_public_on_demand_split_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "split_line_item_public_on_demand_unused_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "split_line_item_split_cost",
    CAST(NULL AS DECIMAL(38, 18)) AS "split_line_item_unused_cost",
    CASE
      WHEN "line_item_unblended_cost" IS NULL
      AND CASE WHEN FALSE THEN CAST(0 AS DECIMAL(38, 18)) END IS NULL
      THEN 'E-COST-NULL'
      WHEN NOT (
        CASE
          WHEN "line_item_unblended_cost" IS NULL
          THEN TRUE
          WHEN COALESCE(
            CAST(TRY_CAST("line_item_unblended_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "line_item_unblended_cost",
            FALSE
          )
          THEN TRUE
          ELSE COALESCE(
            CAST(CAST(TRY_CAST(CASE
              WHEN NOT "line_item_unblended_cost" IS NULL
              THEN FORMAT('%s', "line_item_unblended_cost")
            END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "line_item_unblended_cost",
            FALSE
          )
        END
      )
      THEN (
        CASE
          WHEN NOT IS_FINITE("line_item_unblended_cost")
          THEN 'E-COST-NAN'
          WHEN ABS("line_item_unblended_cost") >= 1e20
          THEN 'E-COST-RANGE'
          ELSE 'E-COST-SCALE'
        END
      )
      WHEN NOT (
        CASE
          WHEN "reservation_effective_cost" IS NULL
          THEN TRUE
          WHEN COALESCE(
            CAST(TRY_CAST("reservation_effective_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "reservation_effective_cost",
            FALSE
          )
          THEN TRUE
          ELSE COALESCE(
            CAST(CAST(TRY_CAST(CASE
              WHEN NOT "reservation_effective_cost" IS NULL
              THEN FORMAT('%s', "reservation_effective_cost")
            END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "reservation_effective_cost",
            FALSE
          )
        END
      )
      THEN (
        CASE
          WHEN NOT IS_FINITE("reservation_effective_cost")
          THEN 'E-COST-NAN'
          WHEN ABS("reservation_effective_cost") >= 1e20
          THEN 'E-COST-RANGE'
          ELSE 'E-COST-SCALE'
        END
      )
      WHEN NOT (
        CASE
          WHEN "savings_plan_savings_plan_effective_cost" IS NULL
          THEN TRUE
          WHEN COALESCE(
            CAST(TRY_CAST("savings_plan_savings_plan_effective_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "savings_plan_savings_plan_effective_cost",
            FALSE
          )
          THEN TRUE
          ELSE COALESCE(
            CAST(CAST(TRY_CAST(CASE
              WHEN NOT "savings_plan_savings_plan_effective_cost" IS NULL
              THEN FORMAT('%s', "savings_plan_savings_plan_effective_cost")
            END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "savings_plan_savings_plan_effective_cost",
            FALSE
          )
        END
      )
      THEN (
        CASE
          WHEN NOT IS_FINITE("savings_plan_savings_plan_effective_cost")
          THEN 'E-COST-NAN'
          WHEN ABS("savings_plan_savings_plan_effective_cost") >= 1e20
          THEN 'E-COST-RANGE'
          ELSE 'E-COST-SCALE'
        END
      )
      WHEN COALESCE(CAST("line_item_line_item_type" AS VARCHAR), '') IN ('DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation', 'Usage')
      AND "line_item_usage_start_date" IS NULL
      THEN 'E-TIME'
      WHEN COALESCE("line_item_usage_account_id", '') IN ('nobody')
      THEN 'E-ACCOUNT'
    END AS "quarantine_code",
    CASE
      WHEN "line_item_unblended_cost" IS NULL
      AND CASE WHEN FALSE THEN CAST(0 AS DECIMAL(38, 18)) END IS NULL
      THEN 'line_item_unblended_cost is empty'
      WHEN NOT (
        CASE
          WHEN "line_item_unblended_cost" IS NULL
          THEN TRUE
          WHEN COALESCE(
            CAST(TRY_CAST("line_item_unblended_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "line_item_unblended_cost",
            FALSE
          )
          THEN TRUE
          ELSE COALESCE(
            CAST(CAST(TRY_CAST(CASE
              WHEN NOT "line_item_unblended_cost" IS NULL
              THEN FORMAT('%s', "line_item_unblended_cost")
            END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "line_item_unblended_cost",
            FALSE
          )
        END
      )
      THEN CONCAT('line_item_unblended_cost = ', CAST("line_item_unblended_cost" AS VARCHAR))
      WHEN NOT (
        CASE
          WHEN "reservation_effective_cost" IS NULL
          THEN TRUE
          WHEN COALESCE(
            CAST(TRY_CAST("reservation_effective_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "reservation_effective_cost",
            FALSE
          )
          THEN TRUE
          ELSE COALESCE(
            CAST(CAST(TRY_CAST(CASE
              WHEN NOT "reservation_effective_cost" IS NULL
              THEN FORMAT('%s', "reservation_effective_cost")
            END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "reservation_effective_cost",
            FALSE
          )
        END
      )
      THEN CONCAT('reservation_effective_cost = ', CAST("reservation_effective_cost" AS VARCHAR))
      WHEN NOT (
        CASE
          WHEN "savings_plan_savings_plan_effective_cost" IS NULL
          THEN TRUE
          WHEN COALESCE(
            CAST(TRY_CAST("savings_plan_savings_plan_effective_cost" AS DECIMAL(15, 10)) AS DOUBLE) = "savings_plan_savings_plan_effective_cost",
            FALSE
          )
          THEN TRUE
          ELSE COALESCE(
            CAST(CAST(TRY_CAST(CASE
              WHEN NOT "savings_plan_savings_plan_effective_cost" IS NULL
              THEN FORMAT('%s', "savings_plan_savings_plan_effective_cost")
            END AS DECIMAL(38, 18)) AS VARCHAR) AS DOUBLE) = "savings_plan_savings_plan_effective_cost",
            FALSE
          )
        END
      )
      THEN CONCAT(
        'savings_plan_savings_plan_effective_cost = ',
        CAST("savings_plan_savings_plan_effective_cost" AS VARCHAR)
      )
      WHEN COALESCE(CAST("line_item_line_item_type" AS VARCHAR), '') IN ('DiscountedUsage', 'SavingsPlanCoveredUsage', 'SavingsPlanNegation', 'Usage')
      AND "line_item_usage_start_date" IS NULL
      THEN 'line_item_usage_start_date is empty'
      WHEN COALESCE("line_item_usage_account_id", '') IN ('nobody')
      THEN CONCAT_WS(
        '',
        CAST('line_item_usage_account_id = ' AS VARCHAR),
        CAST("line_item_usage_account_id" AS VARCHAR)
      )
    END AS "quarantine_reason",
    FALSE AS "lost_values",
    'prefix/export' AS "source_id",
    'DELIVERY' AS "delivery_id"
  FROM fact_cost_raw_RUN_files
) AS l;
