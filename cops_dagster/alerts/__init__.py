"""Who must be told of what, and that they are. Start at `lifecycle.py`.

Belongs here: states of an alert (pure), the board that holds them, messages, receivers, the tick. Does not
belong here: when a check holds (the steps).
"""
