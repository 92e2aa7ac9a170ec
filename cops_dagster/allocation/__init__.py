"""From pools to entries: rules, keys, splits and their posting. Start at `rules.py`.

Belongs here: who bears a pooled cost, by which rule of which day, to the last digit.
"""
