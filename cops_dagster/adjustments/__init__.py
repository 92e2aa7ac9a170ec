"""What changes about a closed month: proposed, approved, booked in an open one. Start at `late.py`.

Belongs here: differences of lines against what was sealed, moves of cost by people, a month made again from
evidence, and booking. Does not belong here: who may approve (`closing/approve.py`), what is sealed
(`evidence/seal.py`). A closed month itself never changes.
It has verdicts and asks none of them again: a booking asks its one check before it publishes.
"""
