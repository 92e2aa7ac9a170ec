"""What people load, and the trace that every load leaves. Start at `load.py`.

Belongs here: cells, files, references between registers, documents, versions; what other rules would do to a
month. Does not belong here: what the loaded decides (the steps).

`closed_months.py` decides which row may come for a closed month; `closed.py` does so within a load.
"""
