-- The margin of months recomputed by the shell of sqlite3 alone from the CSVs of `cops margin --out DIR`:
--     cd DIR && sqlite3 :memory: < margin.sql
-- Amounts have 18 decimals, and so have the zeros here: decimal_cmp of 3.40 takes 0 and 0.00 for two numbers.
.import --csv margin_cells.csv cells
.import --csv margin_by_tenant.csv lines
.import --csv --skip 1 margin_by_plan.csv lines
.import --csv --skip 1 margin_by_service.csv lines
.import --csv --skip 1 margin_by_month.csv lines

CREATE TEMP VIEW charged_to AS
SELECT *, tenant_id NOT IN ('__operator__', '__unallocated__') AS is_tenant FROM cells;

-- What a cell adds to each line that it belongs to.
CREATE TEMP VIEW parts AS
SELECT 'tenant' AS by, tenant_id AS name, * FROM charged_to
UNION ALL SELECT 'plan', CASE WHEN is_tenant THEN plan_id ELSE tenant_id END, * FROM charged_to
UNION ALL SELECT 'service', service, * FROM charged_to
UNION ALL SELECT 'month', 'total', * FROM charged_to;

CREATE TEMP TABLE made AS
SELECT
    period_start, by, name,
    decimal_sum(CASE WHEN is_tenant THEN decimal_add(basis_usd, markup_usd) ELSE '0.000000000000000000' END) AS charged,
    decimal_sum(basis_usd) AS cost,
    decimal_sum(CASE WHEN is_tenant AND usage_period_start = '' THEN direct_usd ELSE '0.000000000000000000' END) AS direct,
    decimal_sum(
        CASE WHEN tenant_id = '__operator__' AND usage_period_start = '' THEN basis_usd ELSE '0.000000000000000000' END
    ) AS own,
    decimal_sum(unused_commitments_usd) AS unused
FROM parts
GROUP BY period_start, by, name;

SELECT count(*) || ' lines recomputed, ' || sum(
    decimal_cmp(charged, charged_usd) OR decimal_cmp(cost, cost_usd)
    OR decimal_cmp(decimal_sub(charged, cost), margin_usd) OR decimal_cmp(direct, direct_usd)
    OR decimal_cmp(own, own_cost_usd) OR decimal_cmp(unused, unused_commitments_usd)
) || ' differ, of ' || (SELECT count(*) FROM lines) || ' exported'
FROM made JOIN lines USING (period_start, by, name);
