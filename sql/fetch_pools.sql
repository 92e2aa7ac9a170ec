-- What rules have to split: cost without a tenant, at the grain that rules match on. Cost of tags that name
-- nobody is among it unless that is held (gather_entries). What takes back a commitment's fee is offered to
-- the rule that claims such fees; its own class stays with it.
SELECT
    service,
    service_component,
    charge_class,
    usage_account_id,
    plan_id,
    delivery_id,
    CASE WHEN takes_back = 'commitment_fee' THEN takes_back ELSE charge_class END AS matched_class,
    SUM(unblended_cost) AS unblended_usd,
    SUM(amortized_cost) AS amortized_usd,
    SUM(net_amortized_cost) AS net_amortized_usd
FROM fact_cost_tagged
WHERE period_start = :period_start AND tenant_id IS NULL AND (tenant_tag IS NULL OR NOT :holds_unknown)
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7
