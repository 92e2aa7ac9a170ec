"""From a report root to `fact_cost_raw`: found, judged at first sight, held or taken. Start at `look.py`."""
