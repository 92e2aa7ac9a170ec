"""What leaves COPS: pure projections of the ledger for FOCUS, finance systems and tenants.

Nothing here decides a number. Start at `record.py`.

Belongs here: the files that other people's systems take, each made again with the same bytes from the same
books. Does not belong here: figures that the steps do not have already; what people read (`reports/`).
"""
