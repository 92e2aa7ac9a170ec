"""What is watched by the clock and asked at 2 a.m.: budgets, controls, the doctor. Start at `controls.py`.

Belongs here: asking all steps about a month, recording what they said, what to do about it. Does not belong
here: when a check holds (the `verdicts` of its step), what becomes of an alert (`alerts/`).
"""
