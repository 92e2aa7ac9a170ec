"""From a report root to `fact_cost_raw`: found, judged at first sight, held or taken. Start at `look.py`.

Belongs here: places, sources and deliveries, why one waits or is refused, every line taken or set aside. Does
not belong here: the shape of a report (`cur/`), reading files (`lake/`), whose a line is (`tagging/`).
"""
