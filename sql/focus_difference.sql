-- Entries whose charges do not come to what the ledger has, in any cost; none, or nothing leaves.
WITH posted AS (
    SELECT
        entry_id,
        allocated_cost_usd AS billed_usd,
        allocated_amortized_cost_usd AS effective_usd,
        allocated_net_amortized_cost_usd AS net_effective_usd
    FROM fact_cost_allocated
    WHERE period_start = :period_start AND run_id = :run_id AND entry_type = 'allocation'
    UNION ALL
    SELECT
        entry_id,
        allocated_cost_usd,
        allocated_amortized_cost_usd,
        allocated_net_amortized_cost_usd
    FROM fact_cost_adjustment
    WHERE period_start = :period_start
),

charged AS (
    SELECT
        entry_id,
        SUM(billed_usd) AS billed_usd,
        SUM(effective_usd) AS effective_usd,
        SUM(net_effective_usd) AS net_effective_usd
    FROM focus_charges
    GROUP BY 1
)

SELECT
    COALESCE(p.entry_id, c.entry_id) AS entry_id,
    p.billed_usd,
    c.billed_usd AS charged_usd
FROM posted AS p
FULL OUTER JOIN charged AS c ON c.entry_id = p.entry_id
WHERE
    p.billed_usd IS DISTINCT FROM c.billed_usd
    OR p.effective_usd IS DISTINCT FROM c.effective_usd
    OR p.net_effective_usd IS DISTINCT FROM c.net_effective_usd
ORDER BY 1
