"""From entries to invoices: variance, exceptions, statement. Start at `variance.py`, then `reconcile.py`.

Belongs here: what was expected, what was invoiced, what AWS billed; each difference with its class and
owner, the freeze of invoices, what a tenant owes. Does not belong here: loading documents (`inputs/`),
corrections of closed months (`adjustments/`).
"""
