-- Budgets by level, with what is left of the target now and at the end of the month.
-- The pasted query projects nothing: it compares the actual cost with thresholds written into it,
-- which need not be those of [budgets], and says neither which month nor how old the figures are.
-- The level here is the one COPS stored, with the thresholds of the settings. The forecast of an ended
-- month is its actual cost; a month still being delivered has none yet.
SELECT
    budget_id,
    scope_type,
    scope_value,
    period_start,
    basis,
    target_usd,
    actual_usd,
    target_usd - actual_usd AS left_usd,
    forecast_usd,
    target_usd - forecast_usd AS left_at_month_end_usd,
    level,
    last_refreshed_at
FROM budget_master
ORDER BY CASE level WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, left_usd, budget_id
