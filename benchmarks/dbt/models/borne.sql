{{ config(materialized='table') }}
-- shares of each pool by weight; DuckDB has no integers wide enough for cost times weight, so what rounding
-- leaves goes to the largest tenant and the total stays exact
WITH weights AS (
    SELECT tenant, SUM(cost) AS weight FROM {{ ref('by_service') }} WHERE tenant IS NOT NULL GROUP BY tenant HAVING SUM(cost) > 0
),
pools AS (SELECT service, cost FROM {{ ref('by_service') }} WHERE tenant IS NULL),
shares AS (
    SELECT
        service, tenant, pools.cost AS pool, ROW_NUMBER() OVER (PARTITION BY service ORDER BY weight DESC, tenant) AS place,
        CAST(CAST(pools.cost AS DOUBLE) * CAST(weight AS DOUBLE) / (SELECT CAST(SUM(weight) AS DOUBLE) FROM weights) AS DECIMAL(38, 18)) AS share
    FROM pools CROSS JOIN weights
),
whole AS (
    SELECT tenant, share + CASE WHEN place = 1 THEN pool - SUM(share) OVER (PARTITION BY service) ELSE 0 END AS cost FROM shares
    UNION ALL
    SELECT tenant, cost FROM {{ ref('by_service') }} WHERE tenant IS NOT NULL
)
SELECT tenant, SUM(cost) AS cost FROM whole GROUP BY tenant
