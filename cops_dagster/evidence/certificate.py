"""What proves a run: its inputs, its SQL, and the certificate that nothing was lost.

Belongs here: the documents that every published run leaves in the evidence store, written before the
transaction that publishes and indexed in it. Does not belong here: the store (`evidence/chain.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from cops_dagster.evidence import documents
from cops_dagster.evidence.chain import Piece
from cops_dagster.lake import statements
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import Staged, as_json
from cops_dagster.period import Period
from cops_dagster.stores import files
from cops_dagster.stores import tables as t
from cops_dagster.verdict import Verdict

JSON = "application/json"


def of_run(
    books: Books,
    con: sa.Connection,
    period: Period,
    run: Mapping[str, Any],
    *,
    sql: Sequence[str],
    delivery_ids: Sequence[str],
    conservation: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    staged: Staged,
    judged: Sequence[Verdict],
) -> list[Piece]:
    """The three documents of a run.

    Args:
        run: what names and explains the run: ids, predecessor, algorithm, reason.
        sql: names of the statements that made it.
        conservation: pool, posted and difference per service and charge class, as published.
    """
    run_id = str(run["run_id"])

    def piece(kind: str, content: dict[str, Any]) -> Piece:
        return Piece(kind, "run", run_id, JSON, data=documents.document(content))

    return [
        piece(
            "run_inputs",
            {
                "period": str(period),
                "run": dict(run),
                "settings": settings_of(books),
                "policy_version": books.adopted.version if books.adopted else None,
                "revision": books.revision,
                "deliveries": deliveries_of(con, delivery_ids),
                "tables": documents.tables_of(con, period),
            },
        ),
        piece("run_sql", {name: statements.text(name) for name in sql}),
        piece(
            "run_certificate",
            {
                "period": str(period),
                "run": dict(run),
                "by_service_and_class": [_plain(row) for row in conservation],
                "figures": _plain(figures),
                "file": {"sha256": files.sha256(staged.path), "rows": staged.rows},
                "verdicts": [as_json(verdict) for verdict in judged],
            },
        ),
    ]


def settings_of(books: Books) -> dict[str, Any]:
    """The policy that decides figures, by sections as settings have them."""
    return books.policy.model_dump(mode="json")


def deliveries_of(con: sa.Connection, delivery_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Deliveries with their files and digests, by id."""
    deliveries, delivered = t.cur_delivery, t.cur_delivery_file
    found = documents.rows_of(
        con,
        sa.select(deliveries)
        .where(deliveries.c.delivery_id.in_(delivery_ids))
        .order_by(deliveries.c.delivery_id),
    )
    for one in found:
        one["files"] = documents.rows_of(
            con,
            sa.select(delivered)
            .where(delivered.c.delivery_id == one["delivery_id"])
            .order_by(delivered.c.position),
        )
    return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: documents.plain(value) for name, value in row.items()}
