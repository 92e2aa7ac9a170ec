"""From lines to tenants: spelled, inherited, covered. Start at `tag.py`."""
