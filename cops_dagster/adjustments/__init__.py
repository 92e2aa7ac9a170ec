"""What changes about a closed month: proposed, approved, booked in an open one. Start at `late.py`.

Belongs here: differences of lines against what was sealed, and their postings. A closed month itself never
changes.
"""
