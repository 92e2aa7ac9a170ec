"""Exact amounts, splitting and canonical digests. Pure: no I/O, no import from the project but errors."""
