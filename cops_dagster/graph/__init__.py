"""The face that is Dagster: assets, checks, jobs, sensors and resources. Thin; the acts are in the steps.

Belongs here: names and wiring of the graph, outcomes as metadata, the life of Dagster's runs. Does not belong
here: a query, a decision. Start at `build.py`.
"""

import warnings

import dagster as dg

# Partitioned checks are in preview since 1.13; each definition would warn. `checks.period_check`
# is the one place that uses them, so a change of that API is a change there.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
