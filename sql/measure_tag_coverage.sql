-- Tag coverage by service, from positive usage lines only (negative lines make a percentage meaningless).
-- What is missing counts before anything is inherited or mapped.
SELECT
    service,
    COALESCE(SUM(CASE :basis
        WHEN 'amortized' THEN positive_amortized_cost
        WHEN 'net_amortized' THEN positive_net_amortized_cost
        ELSE positive_unblended_cost
    END), 0) AS coverable_usd,
    COALESCE(SUM(CASE WHEN is_tag_complete THEN CASE :basis
        WHEN 'amortized' THEN positive_amortized_cost
        WHEN 'net_amortized' THEN positive_net_amortized_cost
        ELSE positive_unblended_cost
    END ELSE 0 END), 0) AS covered_usd,
    COALESCE(SUM(CASE WHEN tenant_id IS NOT NULL THEN CASE :basis
        WHEN 'amortized' THEN positive_amortized_cost
        WHEN 'net_amortized' THEN positive_net_amortized_cost
        ELSE positive_unblended_cost
    END ELSE 0 END), 0) AS propagated_usd,
    COALESCE(SUM(
        CASE WHEN tag_source NOT IN ('resource', 'account') THEN positive_unblended_cost ELSE 0 END
    ), 0) AS missing_usd,
    COALESCE(CAST(SUM(positive_line_count) AS BIGINT), 0) AS coverable_rows,
    COALESCE(CAST(SUM(CASE WHEN is_tag_complete THEN positive_line_count ELSE 0 END) AS BIGINT), 0)
        AS covered_rows,
    COALESCE(CAST(SUM(
        CASE WHEN tag_source NOT IN ('resource', 'account') THEN positive_line_count ELSE 0 END
    ) AS BIGINT), 0)
        AS missing_rows
FROM fact_cost_tagged
WHERE period_start = :period_start AND charge_class = 'usage'
GROUP BY 1
ORDER BY 1
