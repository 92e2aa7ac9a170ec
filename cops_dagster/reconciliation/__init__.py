"""From entries to invoices: variance, exceptions, statement. Start at `variance.py`."""
