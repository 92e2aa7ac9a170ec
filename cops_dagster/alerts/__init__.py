"""Who must be told of what, and that they are. Start at `lifecycle.py`, then `board.py`, `due.py`, `tick.py`.

Belongs here: states of an alert (pure), the board that holds them in the transaction that observes, messages,
receivers, the tick; `publish.py`, by which a step commits with its alerts. Does not belong here: when a check
holds (the steps).
"""
