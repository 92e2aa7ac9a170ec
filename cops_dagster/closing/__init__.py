"""What people decide about a month: readiness, states, approvals, the close and its proof.

Belongs here: what must hold before a month is final or closed, who says so, whether it has work, what is
proved afterwards. Does not belong here: the states themselves (`ledger/states.py`), what changes about a
closed month (`adjustments/`). Start at `readiness.py`, then `close.py` and `approve.py`.

`sealing.py` makes the seal as a month closes; `proof.py` holds every seal against the books afterwards.
"""
