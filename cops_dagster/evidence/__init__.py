"""Proof: the chain, what is sealed, who agreed and signed. Start at `chain.py`.

Belongs here: what is kept so that a decision can be shown to others, and held against the books. No step of
the month is known here.
"""
