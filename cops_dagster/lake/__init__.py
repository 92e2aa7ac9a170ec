"""Live files as one SQL namespace, the engine that reads them, and their Iceberg projection.

Belongs here: views, statements, files that nobody vouched for and their conversion, which files are live.
Does not belong here: what a number means (the steps, `sql/`), the commit (`ledger/publish.py`). Start at
`engine.py`, then `namespace.py` and `live.py`.
"""
