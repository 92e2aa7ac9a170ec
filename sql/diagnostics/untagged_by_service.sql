-- Where is a tag missing? Positive usage by service, component and account, as coverage counts it.
-- The pasted query mixes fees, tax and credits, which carry no tag, with usage that should, and puts
-- cost without a tenant and cost without a plan into one sum.
SELECT
    period_start,
    service,
    service_component,
    usage_account_id,
    CAST(SUM(positive_line_count) AS BIGINT) AS line_count,
    SUM(positive_unblended_cost) AS incomplete_usd,
    SUM(CASE WHEN tenant_id IS NULL THEN positive_unblended_cost ELSE 0 END) AS without_tenant_usd,
    SUM(CASE WHEN tenant_tag IS NOT NULL THEN positive_unblended_cost ELSE 0 END) AS unknown_tenant_usd,
    SUM(CASE WHEN tag_source = 'mapping' THEN positive_unblended_cost ELSE 0 END) AS named_by_account_usd,
    SUM(CASE WHEN tag_source = 'resource' THEN positive_unblended_cost ELSE 0 END) AS without_plan_usd
FROM fact_cost_tagged
WHERE period_start BETWEEN :start AND :end AND charge_class = 'usage' AND NOT is_tag_complete
GROUP BY 1, 2, 3, 4
HAVING SUM(positive_line_count) > 0
ORDER BY 1, 6 DESC, 2, 3, 4
