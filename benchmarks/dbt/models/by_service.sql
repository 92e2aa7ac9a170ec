{{ config(materialized='table') }}
SELECT
    CASE WHEN bill_billing_entity = 'AWS Marketplace' THEN product_product_name
        ELSE COALESCE(NULLIF(product_servicecode, ''), line_item_product_code) END AS service,
    NULLIF(resource_tags_user_tenant_id, '') AS tenant,
    COUNT(*) AS line_count,
    SUM(line_item_unblended_cost) AS cost
FROM {{ ref('month') }}
GROUP BY ALL
