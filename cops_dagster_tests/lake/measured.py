"""One delivery as ingestion measures it, and as `fact_cost_raw` shows it afterwards."""

from __future__ import annotations

from cops_dagster.ingestion import measures
from cops_dagster.ingestion.measures import Measured
from cops_dagster.lake import lens
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.lake.duck import DuckDB
from cops_dagster.lake.lens import Lens
from cops_dagster.lake.tables import FACT_COST_RAW
from cops_dagster.lake.views import empty, union_by_name, view
from cops_dagster_tests.deliveries import SEPTEMBER


def measured(engine: DuckDB, files: DeliveredFiles) -> Measured:
    """A delivery of September, of which any line may have a fault; the engine shows its `fact_cost_raw`."""
    made = measures.measure(engine, files, Lens(has_faults=True), SEPTEMBER)
    booked = lens.booked(files, made.lens, SEPTEMBER.start)
    view(engine, "fact_cost_raw", union_by_name([empty(FACT_COST_RAW), booked]))
    return made
