"""Where decisions, files and proof are kept. No decisions are taken here.

Belongs here: the admin database, its tables and migrations, folders, buckets, and what each says when it
fails. Does not belong here: queries of a step, what a row means. Start at `tables.py`; `places.py` opens
what lies behind a URI.
"""
