"""What people read about a month, and nothing that decides one. Start at `close_report.py`."""
