"""The face: assets, checks, jobs and resources of the Dagster graph. Thin; the acts are in `ledger`."""

import warnings

import dagster as dg

# Partitioned checks are in preview since 1.13; each definition would warn. `checks.period_check`
# is the one place that uses them, so a change of that API is a change there.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
