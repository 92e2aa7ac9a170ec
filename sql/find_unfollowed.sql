-- What takes back other lines and found none: negations by themselves or beyond the usage they name, and
-- refunds and credits that name a resource of which no line names a tenant.
SELECT
    takes_back,
    service,
    charge_class,
    usage_account_id,
    CAST(SUM(line_count) AS BIGINT) AS line_count,
    SUM(unblended_cost) AS unblended_usd
FROM fact_cost_tagged
WHERE
    period_start = :period_start
    AND (takes_back = 'usage' OR (takes_back = 'resource' AND tenant_id IS NULL))
GROUP BY 1, 2, 3, 4
HAVING SUM(unblended_cost) <> 0
ORDER BY 6, 1, 2, 3, 4
