"""What people load, and the trace that every load leaves. Start at `load.py`.

Belongs here: cells, files, references between registers, documents, versions; what other rules would do to a
month. Does not belong here: what the loaded decides (the steps).
"""
