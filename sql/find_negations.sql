-- Which covered usage each savings-plan negation takes back: one row per span of lines (account, service,
-- class, plan, usage type and operation in negation_key; zone, begin, end) that takes part, and how much:
--   whole  to AWS's rounding (a rest up to 0.000001 USD, docs/adr/0028),
--   part   less than the lines cost,
--   over   more than they cost; the rest finds no line.
-- A negation without covered usage in its own span takes that of any zone inside its span, if it names none.
-- first_tags are those of the covered line that comes first by its tags: there the negation is counted.
WITH commitment_lines AS (
    SELECT
        l.negation_key,
        l.negation_zone,
        l.line_item_usage_start_date AS usage_start,
        l.usage_end,
        l.commitment_line = 'SavingsPlanNegation' AS is_negation,
        l.source_id,
        l.delivery_id,
        l.line_item_unblended_cost AS unblended_usd,
        l.net_unblended_cost AS net_unblended_usd,
        l.tag_order,
        l.usage_slice,
        l.resource_tenant,
        l.account_tenant,
        l.category_tenant,
        r.inherited_tenant,
        l.resource_plan,
        l.account_plan,
        l.category_plan,
        l.component_tag
    FROM hourly_cost_lines AS l
    LEFT JOIN resource_tenants AS r ON r.resource_id = l.untagged_resource
    WHERE
        l.period_start = :period_start AND l.negation_key IS NOT NULL
        -- the same said of a delivered column: what it leaves out is not read further
        AND l.line_item_line_item_type IN ('SavingsPlanCoveredUsage', 'SavingsPlanNegation')
),

spans AS (
    SELECT
        negation_key,
        negation_zone,
        usage_start,
        usage_end,
        COUNT_IF(is_negation) AS negation_count,
        COUNT_IF(NOT is_negation) AS covered_count,
        SUM(CASE WHEN is_negation THEN 0 ELSE unblended_usd END) AS covered_usd,
        SUM(CASE WHEN is_negation THEN 0 ELSE net_unblended_usd END) AS covered_net_usd,
        SUM(CASE WHEN is_negation THEN unblended_usd ELSE 0 END) AS negated_usd,
        SUM(CASE WHEN is_negation THEN net_unblended_usd ELSE 0 END) AS negated_net_usd,
        MIN(CASE WHEN is_negation THEN source_id END) AS source_id,
        MIN(CASE WHEN is_negation THEN delivery_id END) AS delivery_id,
        MIN(CASE WHEN is_negation THEN NULL ELSE tag_order END) AS tag_order,
        MIN_BY(
            CAST(
                ROW(
                    usage_slice, resource_tenant, account_tenant, category_tenant, inherited_tenant,
                    resource_plan, account_plan, category_plan, component_tag
                ) AS ROW(
                    usage_slice DATE, resource_tenant VARCHAR, account_tenant VARCHAR,
                    category_tenant VARCHAR, inherited_tenant VARCHAR, resource_plan VARCHAR,
                    account_plan VARCHAR, category_plan VARCHAR, component_tag VARCHAR
                )
            ),
            CASE WHEN is_negation THEN NULL ELSE tag_order END
        ) AS first_tags
    FROM commitment_lines
    GROUP BY 1, 2, 3, 4
),

wider AS (
    SELECT
        f.negation_key,
        f.negation_zone,
        f.usage_start,
        f.usage_end,
        u.negation_zone AS group_zone,
        u.usage_start AS group_start,
        u.usage_end AS group_end,
        ROW_NUMBER() OVER (
            PARTITION BY f.negation_key, f.negation_zone, f.usage_start, f.usage_end
            ORDER BY u.usage_start DESC, u.usage_end ASC, u.negation_zone DESC
        ) AS choice
    FROM spans AS f
    INNER JOIN spans AS u
        ON
            u.negation_key = f.negation_key
            AND (u.negation_zone = '' OR u.negation_zone = f.negation_zone)
            AND u.usage_start <= f.usage_start AND u.usage_end >= f.usage_end
    WHERE f.negation_count = 0 AND u.covered_count = 0
),

members AS (
    SELECT
        negation_key,
        negation_zone,
        usage_start,
        usage_end,
        negation_zone AS group_zone,
        usage_start AS group_start,
        usage_end AS group_end
    FROM spans
    WHERE negation_count > 0
    UNION ALL
    SELECT negation_key, negation_zone, usage_start, usage_end, group_zone, group_start, group_end
    FROM wider
    WHERE choice = 1
),

negated AS (
    SELECT
        m.negation_key,
        m.group_zone,
        m.group_start,
        m.group_end,
        SUM(s.covered_count) AS covered_count,
        SUM(s.covered_usd) AS covered_usd,
        SUM(s.covered_net_usd) AS covered_net_usd,
        SUM(s.negated_usd) AS negated_usd,
        SUM(s.negated_net_usd) AS negated_net_usd,
        MIN(s.source_id) AS source_id,
        MIN(s.delivery_id) AS delivery_id,
        MIN_BY(s.first_tags, s.tag_order) AS first_tags
    FROM members AS m
    INNER JOIN spans AS s
        ON
            s.negation_key = m.negation_key AND s.negation_zone = m.negation_zone
            AND s.usage_start = m.usage_start AND s.usage_end = m.usage_end
    GROUP BY 1, 2, 3, 4
),

judged AS (
    SELECT
        n.*,
        CASE
            WHEN ABS(covered_usd + negated_usd) <= 0.000001 THEN 'whole'
            WHEN covered_usd > 0 AND negated_usd < 0 AND covered_usd + negated_usd > 0 THEN 'part'
            WHEN covered_usd < 0 AND negated_usd > 0 AND covered_usd + negated_usd < 0 THEN 'part'
            WHEN covered_usd > 0 AND negated_usd < 0 THEN 'over'
            WHEN covered_usd < 0 AND negated_usd > 0 THEN 'over'
            ELSE 'alone'
        END AS taken_back
    FROM negated AS n
    WHERE covered_count > 0
)

SELECT
    m.negation_key,
    m.negation_zone,
    m.usage_start,
    m.usage_end,
    (
        m.negation_zone = m.group_zone AND m.usage_start = m.group_start AND m.usage_end = m.group_end
    ) AS is_group,
    m.group_zone,
    m.group_start,
    m.group_end,
    j.taken_back,
    j.source_id,
    j.delivery_id,
    j.negated_usd,
    j.negated_net_usd,
    j.covered_usd + j.negated_usd AS rest_usd,
    j.covered_net_usd + j.negated_net_usd AS rest_net_usd,
    j.first_tags.usage_slice,
    j.first_tags.resource_tenant,
    j.first_tags.account_tenant,
    j.first_tags.category_tenant,
    j.first_tags.inherited_tenant,
    j.first_tags.resource_plan,
    j.first_tags.account_plan,
    j.first_tags.category_plan,
    j.first_tags.component_tag
FROM members AS m
INNER JOIN judged AS j
    ON
        j.negation_key = m.negation_key AND j.group_zone = m.group_zone
        AND j.group_start = m.group_start AND j.group_end = m.group_end
WHERE j.taken_back <> 'alone'
