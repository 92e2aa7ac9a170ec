"""What people read about a month, and nothing that decides one. Start at `close_report.py`.

Belongs here: the close report, the audit sample, what stands behind an amount, a person's SELECT. Does not
belong here: figures that nobody else computes; they come from the steps.
"""
