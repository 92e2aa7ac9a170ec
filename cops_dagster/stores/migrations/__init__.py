"""History of the admin database, applied by `stores.admin.open_admin`; no `alembic.ini` is needed.

Belongs here: `env.py`, how guards are written (`guards.py`) and one file per revision, which never changes
once released. A revision says what it does in full and imports no list from the package, so that it stays
what it was.
"""
