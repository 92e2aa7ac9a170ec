-- The direct entries of a run: what the lines of each tenant add up to.
SELECT *
FROM fact_cost_allocated
WHERE
    period_start = :period_start AND run_id = :run_id AND entry_type = 'allocation'
    AND allocation_method = 'direct'
ORDER BY entry_id
