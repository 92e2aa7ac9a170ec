"""The `cops` command: one module per command group, everything slow imported where it is used.

Belongs here: parsing, calling one act, showing what came of it, and how a command starts and ends. Does not
belong here: a query, a decision, an act. Start at `main.py`, which lists the commands.
No groups are `start.py` and `signals.py` (how a process begins and ends), `desk.py` and `output.py`.
"""
