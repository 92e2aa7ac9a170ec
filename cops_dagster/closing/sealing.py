"""The seal of a closing month: its entries digested twice, its delivered bytes kept, its rows bound.

Belongs here: what a seal says and the one transaction that closes a period with it. Does not belong here: who
wants the close and whether it may begin (`closing/close.py`); the digests themselves (`evidence/seal.py`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.allocation import allocate
from cops_dagster.closing import close_request
from cops_dagster.errors import CopsError
from cops_dagster.evidence import binding, certificate, chain, documents, seal, signatures
from cops_dagster.evidence.chain import Kept, Piece
from cops_dagster.lake import live
from cops_dagster.lake.delivered import DeliveredFiles
from cops_dagster.ledger import lock, month
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.stores.objects import key_of


def digested_twice(books: Books, period: Period) -> seal.Digests:
    """The digests of a period's entries, made by two ways.

    Raises:
        CopsError: `E-SEAL` when they differ.
    """
    with books.admin.read() as con:
        run = head(con, allocate.TABLE, period)
        assert run is not None
        first = seal.of_period(books, con, period, run.run_id)
        second, rows = seal.elsewhere(books, con, period)
        if (first.entries, first.row_count) != (second, rows):
            raise CopsError(
                "E-SEAL",
                f"period {period}",
                expected=f"one digest by two ways: {first.entries[:16]}… over {first.row_count} entries",
                found=f"{second[:16]}… over {rows}",
                next_step="the period is final again; keep everything as it is and find out why",
            )
        return first


def sealed(books: Books, period: Period, entries: seal.Digests) -> tuple[bytes, list[Kept]]:
    """Puts delivered bytes, bound rows and seal into the evidence store; nothing is indexed yet."""
    with books.admin.read() as con:
        run = head(con, allocate.TABLE, period)
        assert run is not None
        delivered = _delivered(con, books, period)
        digests = [sha256 for one in delivered for sha256 in _digests(con, one.delivery_id)]
        there = close_request.state_of(con, period)
        before = con.execute(
            sa.select(t.period_lock.c.seal_digest).where(
                t.period_lock.c.period_start == period.previous().start
            )
        ).scalar_one_or_none()
        rows = binding.everything(con, period)
        bound = documents.document({"period": str(period), "tables": rows})
        document = documents.document(
            {
                "seal_version": seal.VERSION,
                "period": str(period),
                "entries_digest": entries.entries,
                "entry_count": entries.row_count,
                "result_digest": entries.result,
                "totals": entries.totals,
                "head_run_id": run.run_id,
                "head_inputs_key": chain.find(con, "run_inputs", "run", run.run_id).object_key,
                "journal_seq": there.journal_seq,
                "recon_id": there.recon_id,
                "charge": books.policy.charge.model_dump(mode="json"),
                "deliveries": certificate.deliveries_of(con, [one.delivery_id for one in delivered]),
                "previous_seal": before,
                "bound": binding.said(rows),
                "bound_rows_key": key_of(hashlib.sha256(bound).hexdigest()),
                "logs": binding.logs(con),
            }
        )
    pieces = [
        Piece("delivered_file", "delivery", one.delivery_id, "application/octet-stream", path=path)
        for one in delivered
        for path in one.paths
    ]
    pieces.append(Piece("bound_rows", "period", str(period), certificate.JSON, data=bound))
    pieces.append(Piece("seal", "period", str(period), certificate.JSON, data=document))
    kept = chain.store(books, pieces)
    for one, sha256 in zip(kept, digests, strict=False):  # the seal stands behind the files
        if one.sha256 != sha256:  # exchanged between its digest and its copy
            raise CopsError(
                "E-DIGEST",
                f"{one.piece.path} of {period}",
                expected=f"the delivered bytes, sha256 {sha256[:12]}…",
                found=f"sha256 {one.sha256[:12]}…",
                next_step="restore the delivered file, then close again",
            )
    return document, kept


def _digests(con: sa.Connection, delivery_id: str) -> list[str]:
    delivered = t.cur_delivery_file
    query = (
        sa.select(delivered.c.sha256)
        .where(delivered.c.delivery_id == delivery_id)
        .order_by(delivered.c.position)
    )
    return list(con.execute(query).scalars())


def _delivered(con: sa.Connection, books: Books, period: Period) -> list[DeliveredFiles]:
    """The deliveries that readers see, their bytes those of first sight: the lake's, or AWS's own."""
    found, kept = [], live.kept(con, books.lake, period.start)
    for row in month.shown(con, period):
        files = DeliveredFiles.recorded(row, books.settings.home)
        held = kept.get(row.delivery_id, [])
        if [file.sha256 for file in held] == _digests(con, row.delivery_id):  # else it was converted
            files = live.lying_at(files, held)
        live.fetch_whole(books.settings.home, files.paths)  # they become objects of evidence
        live.verify(live.delivered_files(con, books.settings.home, files), digests=True)
        found.append(files)
    return found


def finish(
    books: Books, period: Period, document: bytes, kept: list[Kept]
) -> Literal["sealed", "before", "moved"]:
    """Closes the period with its seal, unless another did or a row that it binds was written since."""
    said = json.loads(document)
    with books.admin.write() as con:
        if lock.state_of(con, period) == "closed":
            return "before"
        if binding.said(binding.everything(con, period)) != said["bound"]:
            return "moved"
        numbers = chain.index(con, books, kept)
        _show_from_evidence(con, books, period, kept)
        board.end_period(con, period, because="the period is closed", actor=books.actor)
        lock.move(
            con,
            books,
            period,
            "closed",
            reason="sealed",
            evidence_id=str(numbers[-1]),
            at=chain.recorded_at(con, numbers[-1]),
            seal_digest=kept[-1].sha256,
            seal_journal_seq=said["journal_seq"],
        )
        signatures.require(
            books, con, "seal", ("period", str(period)), kept[-1].sha256, period_start=period.start
        )
    return "sealed"


def _show_from_evidence(con: sa.Connection, books: Books, period: Period, kept: list[Kept]) -> None:
    """`cur_billing_master` of a closed month reads the kept bytes: AWS may overwrite its own."""
    objects = chain.objects(books)
    places = {one.sha256: objects.path(one.key) for one in kept if one.piece.kind == "delivered_file"}
    shown, delivered = t.cur_billing_head, t.cur_delivery_file
    for row in con.execute(sa.select(shown).where(shown.c.period_start == period.start)).all():
        files = con.execute(
            sa.select(delivered)
            .where(delivered.c.delivery_id == row.delivery_id)
            .order_by(delivered.c.position)
        ).all()
        held = [places.get(file.sha256) for file in files]
        if not all(held):
            continue  # an evidence store that is no folder: the files are read where AWS keeps their versions
        location = [json.loads(row.location_json)[0], *(_place(books, path) for path in held if path)]
        con.execute(
            sa.update(shown)
            .where(shown.c.source_id == row.source_id, shown.c.period_start == period.start)
            .values(location_json=json.dumps(location))
        )


def _place(books: Books, path: Path) -> list[str | int]:
    home, info = books.settings.home, path.stat()
    named = path.relative_to(home) if path.is_relative_to(home) else path
    return [str(named), info.st_size, info.st_mtime_ns]
