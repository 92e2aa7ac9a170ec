-- What was booked in a month about closed ones.
SELECT *
FROM fact_cost_adjustment
WHERE period_start = :period_start
ORDER BY entry_id
