"""Realistic months of CUR with everything COPS needs to take them to the close. Deterministic.

Belongs here: made-up deliveries and inputs, and their exact totals known without the pipeline. Does not
belong here: anything the pipeline imports. Start at `home.py`, then `profile.py` and `cur.py`.
"""

from cops_dagster.demo.home import PERIODS, lines_of, write_demo

__all__ = ["PERIODS", "lines_of", "write_demo"]
