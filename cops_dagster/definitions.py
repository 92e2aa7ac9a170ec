"""The Dagster entry point: `defs` is what the code location loads; the wiring is in `graph/build.py`."""

from cops_dagster.graph.build import build_defs

__all__ = ["build_defs", "defs"]

defs = build_defs()
