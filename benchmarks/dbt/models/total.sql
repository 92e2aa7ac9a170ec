{{ config(materialized='external', format='csv') }}
SELECT
    (SELECT SUM(line_count) FROM {{ ref('by_service') }}) AS line_count,
    CAST(SUM(cost) AS DECIMAL(38, 10)) AS unblended_usd
FROM {{ ref('borne') }}
