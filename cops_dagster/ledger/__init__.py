"""The kernel: runs, months and the one commit. Start at `books.py`, then `run`, `month`, `publish`.

Knows nothing of tags, rules or invoices.
"""
