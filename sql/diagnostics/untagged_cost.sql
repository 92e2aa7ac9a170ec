-- Cost that names no tenant, month by month and per charge class, and how much of it is mistyped.
-- The pasted query looks at one delivered tag. It counts cost that an alias or an account mapping has
-- named, misses tags that name no tenant, ignores the [tags] setting, and nets credits and refunds
-- against usage, so that a large credit can hide untagged cost.
SELECT
    period_start,
    charge_class,
    CAST(SUM(line_count) AS BIGINT) AS line_count,
    SUM(unblended_cost) AS untagged_usd,
    SUM(CASE WHEN tenant_tag IS NOT NULL THEN unblended_cost ELSE 0 END) AS unknown_tenant_usd,
    SUM(amortized_cost) AS untagged_amortized_usd
FROM fact_cost_tagged
WHERE period_start BETWEEN :start AND :end AND tenant_id IS NULL
GROUP BY 1, 2
ORDER BY 1, 4 DESC, 2
