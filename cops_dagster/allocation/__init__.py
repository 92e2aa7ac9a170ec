"""From pools to entries: rules, keys, splits and their posting. Start at `rules.py`, then `allocate.py`.

Belongs here: who bears a pooled cost, by which rule of which day, to the last digit; taking a run back.
Does not belong here: loading rules (`inputs/`), how an amount is divided (`money/split.py`), the commit
(`ledger/`).
"""
