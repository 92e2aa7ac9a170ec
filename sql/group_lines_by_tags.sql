-- The month's lines by everything that tagging and allocation ask about, tags as delivered: aliases and
-- tenants meet groups afterwards, not lines. Lines that are alike come as one row (lake/alike.py). Usage that
-- a savings-plan negation takes back, and the negation, cost nothing here (unblended): what is left of the
-- two, and a negation of a part, are rows of their own.
-- A line of an instance whose hour was split stays apart by that hour (container_of, docs/adr/0054).
-- Positive sums stay those of the lines: they weigh how usage is tagged.
WITH negated_lines AS (
    SELECT
        l.*,
        r.inherited_tenant,
        COALESCE(n.taken_back IS NOT NULL AND l.commitment_line = 'SavingsPlanNegation', FALSE) AS follows,
        (
            n.taken_back IS NULL OR (n.taken_back = 'part' AND l.commitment_line = 'SavingsPlanCoveredUsage')
        ) AS costs,
        n.usage_slice AS first_slice,
        n.resource_tenant AS first_resource_tenant,
        n.account_tenant AS first_account_tenant,
        n.category_tenant AS first_category_tenant,
        n.inherited_tenant AS first_inherited_tenant,
        n.resource_plan AS first_resource_plan,
        n.account_plan AS first_account_plan,
        n.category_plan AS first_category_plan,
        n.component_tag AS first_component_tag
    FROM alike_cost_lines AS l
    LEFT JOIN resource_tenants AS r ON r.resource_id = l.untagged_resource
    LEFT JOIN negations AS n
        ON
            n.negation_key = l.negation_key AND n.negation_zone = l.negation_zone
            AND n.usage_start = l.line_item_usage_start_date AND n.usage_end = l.usage_end
    WHERE l.period_start = :period_start
)

SELECT
    period_start,
    source_id,
    delivery_id,
    product_servicecode AS service,
    CASE WHEN follows THEN first_component_tag ELSE component_tag END AS component_tag,
    line_item_usage_account_id AS account_id,
    charge_class,
    CASE WHEN follows THEN first_slice ELSE usage_slice END AS usage_slice,
    CASE WHEN follows THEN first_resource_tenant ELSE resource_tenant END AS resource_tenant,
    CASE WHEN follows THEN first_account_tenant ELSE account_tenant END AS account_tenant,
    CASE WHEN follows THEN first_category_tenant ELSE category_tenant END AS category_tenant,
    CASE WHEN follows THEN first_inherited_tenant ELSE inherited_tenant END AS inherited_tenant,
    CASE WHEN follows THEN first_resource_plan ELSE resource_plan END AS resource_plan,
    CASE WHEN follows THEN first_account_plan ELSE account_plan END AS account_plan,
    CASE WHEN follows THEN first_category_plan ELSE category_plan END AS category_plan,
    CASE WHEN NOT follows THEN takes_back END AS takes_back,
    CASE WHEN NOT follows THEN container_of END AS container_of,
    CAST(NULL AS VARCHAR) AS borne_by,
    SUM(line_count) AS line_count,
    SUM(CASE WHEN line_item_unblended_cost > 0 THEN line_count ELSE 0 END) AS positive_line_count,
    SUM(CASE WHEN costs THEN line_item_unblended_cost ELSE 0 END) AS unblended_cost,
    SUM(amortized_cost) AS amortized_cost,
    SUM(CASE WHEN costs THEN net_unblended_cost ELSE 0 END) AS net_unblended_cost,
    SUM(net_amortized_cost) AS net_amortized_cost,
    SUM(true_up_cost) AS true_up_cost,
    SUM(upfront_cost) AS upfront_cost,
    SUM(net_true_up_cost) AS net_true_up_cost,
    SUM(net_upfront_cost) AS net_upfront_cost,
    SUM(CASE WHEN line_item_unblended_cost > 0 THEN line_item_unblended_cost ELSE 0 END)
        AS positive_unblended_cost,
    SUM(CASE WHEN amortized_cost > 0 THEN amortized_cost ELSE 0 END) AS positive_amortized_cost,
    SUM(CASE WHEN net_amortized_cost > 0 THEN net_amortized_cost ELSE 0 END) AS positive_net_amortized_cost
FROM negated_lines
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
UNION ALL
SELECT
    CAST(:period_start AS DATE),
    n.source_id,
    n.delivery_id,
    SPLIT_PART(n.negation_key, CHR(31), 2),
    CASE WHEN n.taken_back = 'whole' THEN n.component_tag END,
    SPLIT_PART(n.negation_key, CHR(31), 1),
    SPLIT_PART(n.negation_key, CHR(31), 3),
    n.usage_slice,
    CASE WHEN n.taken_back = 'whole' THEN n.resource_tenant END,
    CASE WHEN n.taken_back = 'whole' THEN n.account_tenant END,
    CASE WHEN n.taken_back = 'whole' THEN n.category_tenant END,
    CASE WHEN n.taken_back = 'whole' THEN n.inherited_tenant END,
    CASE WHEN n.taken_back = 'whole' THEN n.resource_plan END,
    CASE WHEN n.taken_back = 'whole' THEN n.account_plan END,
    CASE WHEN n.taken_back = 'whole' THEN n.category_plan END,
    CASE WHEN n.taken_back = 'over' THEN 'usage' END,
    CAST(NULL AS VARCHAR),
    CAST(NULL AS VARCHAR),
    0, 0, n.rest_usd, 0, n.rest_net_usd, 0, 0, 0, 0, 0, 0, 0, 0
FROM negations AS n
WHERE n.is_group AND n.taken_back IN ('whole', 'over') AND (n.rest_usd <> 0 OR n.rest_net_usd <> 0)
UNION ALL
SELECT
    CAST(:period_start AS DATE),
    source_id,
    delivery_id,
    service,
    component_tag,
    account_id,
    charge_class,
    usage_slice,
    resource_tenant,
    account_tenant,
    category_tenant,
    inherited_tenant,
    resource_plan,
    account_plan,
    category_plan,
    CAST(NULL AS VARCHAR),
    container_of,
    CAST(NULL AS VARCHAR),
    0, 0, unblended_cost, 0, net_unblended_cost, 0, 0, 0, 0, 0, 0, 0, 0
FROM negation_shares
