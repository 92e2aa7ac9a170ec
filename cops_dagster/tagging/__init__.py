"""From lines to tenants: spelled, inherited, covered. Start at `tag.py`.

Belongs here: which tenant, plan and component a line names, how much of the cost names one, tags before
they cost anything. Does not belong here: cost that names nobody (`allocation/`), tags as columns
(`lake/tag_columns.py`).
"""
