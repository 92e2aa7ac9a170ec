"""What is watched by the clock and asked at 2 a.m.: budgets, controls, the doctor. Start at `controls.py`."""
