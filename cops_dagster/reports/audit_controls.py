"""What an audit sample says of people and controls: who may do what, who did, which control held.

Belongs here: the control matrix (control → evidence → result), the approvals about a month, the access list.
Does not belong here: judging. Every row is read from what was recorded when it happened.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cops_dagster.evidence import verify
from cops_dagster.evidence.chain import read
from cops_dagster.evidence.consent import name_of
from cops_dagster.evidence.people import is_same_person
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t

Row = dict[str, Any]
_ROLES = ("cops_reader", "cops_writer", "cops_closer")


def matrix(books: Books, period: Period, chain: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Control → evidence → result: the checks of the month's heads, its readiness, the chain, two people."""
    with books.admin.read() as con:
        found = [*_checks(con, period), *_two_people(approvals(con, period))]
    ready = [row for row in chain if (row["kind"], row["subject_id"]) == ("readiness", str(period))]
    for row in ready[-1:]:
        document = json.loads(read(books, row["evidence_seq"]))
        found += [
            {
                "control": one["name"].replace("_", " "),
                "holds": one["holds"],
                "found": one["found"],
                "owner": one["owner"],
                "by": row["actor"],
                "at": row["recorded_at"],
                "evidence": f"chain entry {row['evidence_seq']}, objects/{row['sha256']}",
            }
            for one in document["readiness"]
        ]
    verified = verify.verify(books, period)
    found.append(
        {
            "control": "the chain of evidence and every object of the month are as recorded",
            "holds": verified.status == "ok",
            "found": f"{verified.status}: {len(verified.findings)} finding(s)",
            "owner": "platform",
            "by": books.actor,
            "at": "now",
            "evidence": "cops evidence verify",
        }
    )
    return found


def _checks(con: sa.Connection, period: Period) -> list[Row]:
    return [
        {
            "control": one["check"].replace("_", " "),
            "holds": one["passed"],
            "found": ", ".join(f"{name} {value}" for name, value in one["figures"].items()),
            "owner": row.table_name,
            "by": row.actor,
            "at": row.published_at,
            "evidence": f"publish_journal {row.journal_seq}, run {row.run_id}",
        }
        for row in sorted(month.runs(con, period), key=lambda run: run.journal_seq)
        for one in json.loads(row.verdicts_json)
    ]


def _two_people(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        {
            "control": "who approved is not who asked",
            "owner": "finance",
            "by": row["approved_by"],
            "holds": not is_same_person(row["requested_by"], row["approved_by"]),
            "found": f"asked by {row['requested_by']}: {row['reason']}",
            "at": row["approved_at"],
            "evidence": f"approval {row['subject_type']} {row['subject_id']}, digest {row['subject_digest']}",
        }
        for row in rows
    ]


def approvals(con: sa.Connection, period: Period) -> list[Row]:
    """Approvals of what is about a month: deliveries, adjustments, exceptions, freezes, its close."""
    approval, start = t.approval, period.start
    subjects: set[str] = set()
    for column in (t.cur_delivery.c.delivery_id, t.recon_exceptions.c.exception_id):
        subjects |= set(con.execute(sa.select(column).where(column.table.c.period_start == start)).scalars())
    adjustments, bookings = t.adjustment, t.adjustment_booking
    subjects |= set(
        con.execute(
            sa.select(adjustments.c.adjustment_id).where(adjustments.c.usage_period_start == start)
        ).scalars()
    )
    subjects |= set(
        con.execute(sa.select(bookings.c.adjustment_id).where(bookings.c.period_start == start)).scalars()
    )
    freezes = t.invoice_freeze
    subjects |= {
        name_of(row) for row in con.execute(sa.select(freezes).where(freezes.c.period_start == start))
    }
    rows = con.execute(
        sa.select(approval).order_by(approval.c.subject_type, approval.c.subject_id)
    ).mappings()
    return [dict(row) for row in rows if row["subject_id"] in subjects or str(period) in row["subject_id"]]


def access(books: Books, period: Period) -> list[Row]:
    """Who may reach the books, and who acted in the month: rights first, then acts by person."""
    with books.admin.read() as con:
        rights = _roles(con) if con.dialect.name == "postgresql" else _files(books)
        acted: dict[tuple[str, str], list[str]] = {}
        for table, who, when in (
            (t.publish_journal, "actor", "published_at"),
            (t.period_lock_event, "actor", "changed_at"),
            (t.recon_run, "actor", "reconciled_at"),
        ):
            query = sa.select(table.c[who], table.c[when]).where(table.c.period_start == period.start)
            for person, at in con.execute(query):
                acted.setdefault((person, table.name), []).append(at.isoformat())
        for row in approvals(con, period):
            acted.setdefault((row["approved_by"], "approval"), []).append(row["approved_at"].isoformat())
    return rights + [
        {
            "who": person,
            "kind": "acted",
            "what": table,
            "rights": f"{len(times)} time(s)",
            "first": min(times),
            "last": max(times),
        }
        for (person, table), times in sorted(acted.items())
    ]


def _roles(con: sa.Connection) -> list[Row]:
    """Logins of the PostgreSQL server that can reach the tables, with the roles they are members of."""
    roles = sa.table("pg_roles", *map(sa.column, ("rolname", "rolsuper", "rolcanlogin")))
    found = []
    for row in con.execute(sa.select(roles).where(roles.c.rolcanlogin).order_by(roles.c.rolname)):
        held = [
            name
            for name in _ROLES
            if con.execute(
                sa.select(roles.c.rolname).where(
                    roles.c.rolname == name, sa.func.pg_has_role(row.rolname, name, "MEMBER")
                )
            ).first()
        ]
        rights = "superuser" if row.rolsuper else ", ".join(held)
        if rights:
            found.append(
                {
                    "who": row.rolname,
                    "kind": "login",
                    "what": "admin database",
                    "rights": rights,
                    "first": "",
                    "last": "",
                }
            )
    return found


def _files(books: Books) -> list[Row]:
    """On SQLite whoever can write the files can write the books: their owners and modes."""
    home = books.settings.home
    found = []
    for path in (home, home / "admin.db", books.settings.lake_root, Path(books.settings.evidence_uri)):
        if not path.exists():
            continue
        info = path.stat()
        found.append(
            {
                "who": f"uid {info.st_uid}",
                "kind": "owner",
                "what": path.name,
                "rights": stat.filemode(info.st_mode),
                "first": "",
                "last": "",
            }
        )
    return found
