"""Exact amounts, splitting and canonical digests. Pure: no I/O, no import from the project but errors.

Belongs here: amounts as integers, currencies, rounding on purpose, the arithmetic of `Decimal`. Does not
belong here: who bears an amount (`allocation/`), exchange rates (`reconciliation/`). Start at `amount.py`,
then `split.py`.
"""
