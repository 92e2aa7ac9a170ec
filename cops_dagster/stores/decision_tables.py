"""The tables of what people decided and by which key: loads, allowed signers, signatures.

Belongs here: their columns, as in `stores/tables.py`, which shows them with all the others. All are
insert-only and stand in the chain of evidence as well.
"""

from __future__ import annotations

import sqlalchemy as sa

from cops_dagster.stores.columns import date_column as _date
from cops_dagster.stores.columns import int_column as _int
from cops_dagster.stores.columns import key_column as _key
from cops_dagster.stores.columns import metadata
from cops_dagster.stores.columns import text_column as _text
from cops_dagster.stores.columns import time_column as _time

# fmt: off
load_log = sa.Table(  # one row per load and table that it changed; every row of it is in the evidence
    "load_log", metadata,
    _key("load_id"), _key("table_name"), _time("loaded_at", null=False), _text("actor", null=False),
    _text("identity", null=False), _int("inserted", null=False), _int("unchanged", null=False),
    _int("replaced", null=False), _text("replaced_json", null=False), _text("files_json", null=False),
    _text("evidence_id", null=False),
)  # load_id: SHA-256 of the load's document; replaced_json: [{key, old, new}, …]; files: name, sha256, size
allowed_signers = sa.Table(  # who may sign by which key: what was added and what was taken back
    "allowed_signers", metadata,
    _key("event_id"), _text("event", null=False), _text("books_id", null=False),
    _text("principal", null=False), _text("public_key", null=False), _text("fingerprint", null=False),
    _time("valid_from", null=False), _time("valid_before"), _text("reason", null=False),
    _text("actor", null=False), _time("occurred_at", null=False), _text("evidence_id", null=False),
    sa.CheckConstraint("event IN ('added','revoked')", name="event"),
)  # event_id: SHA-256 of the event's document
signature = sa.Table(  # one decision, signed: `text` is what the key signed, `signature` what it made of it
    "signature", metadata,
    _key("signature_id"), _text("kind", null=False), _text("subject_type", null=False),
    _text("subject_id", null=False), _text("digest", null=False), _date("period_start"),
    _text("principal", null=False), _text("fingerprint", null=False), _text("namespace", null=False),
    _time("signed_at", null=False), _text("text", null=False), _text("signature", null=False),
    _text("evidence_id", null=False),
)  # signature_id: SHA-256 of `text`
# fmt: on
