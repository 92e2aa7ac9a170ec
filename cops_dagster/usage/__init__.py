"""Usage keys that come by themselves: asked of their sources day by day, kept, added up and loaded.

Belongs here: what `keys.toml` declares, asking, contracts, versions of days, the month that they make. Does
not belong here: splitting by a key (`allocation/`), loading (`inputs/`), stale keys as controls
(`operations/`). Start at `refresh.py`; then `judged.py`, `roll_up.py`, `standing.py`.
"""
