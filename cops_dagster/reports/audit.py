"""An audit sample of a closed month: the whole population, its proof, a choice that anybody can repeat.

Belongs here: what stands in the folder that `cops audit sample` writes. Does not belong here: the tables
about people and controls (`reports/audit_controls.py`), the choice (`reports/sampling.py`), the script that
redoes the folder without COPS (`reports/audit_verify.sh`). Same books and seed, same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.adjustments import proposals
from cops_dagster.errors import CopsError
from cops_dagster.evidence import seal, signatures, verify
from cops_dagster.evidence.chain import entry_bytes, read
from cops_dagster.lake.tables import LAKE_TABLES
from cops_dagster.ledger import month
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.reports import audit_controls, sampling
from cops_dagster.stores import csv_cells, faults
from cops_dagster.stores import tables as t

Rows = Sequence[Mapping[str, Any]]
SCRIPT = "verify.sh"
SUMS = "SHA256SUMS"
_SEED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A seed that is the same text on a command line, in a CSV cell and in the digest that ranks an entry."""
_WHOLE = ("run_inputs", "run_sql", "run_certificate", "readiness", "decision", "seal")
"""Kinds of evidence whose documents lie in the folder; delivered files are named with their digests only."""


@dataclass(frozen=True)
class Sampled:
    """Outcome: where the sample lies, how many entries there are and were chosen, and what proves all of it.

    Attributes:
        digest: SHA-256 of `SHA256SUMS`, which names every other file: one number to write down.
    """

    folder: Path
    population: int
    chosen: int
    allocated_usd: Decimal
    seal_digest: str
    digest: str


def sample(books: Books, period: Period, *, n: int, seed: str, out: Path) -> Sampled:
    """Writes the sample of a closed month into a new folder below `out`.

    Raises:
        CopsError: `E-PARAM` for less than one entry, a seed that is not plain, or a folder that is there;
            `E-DISK`, `E-DISK-READONLY` or `E-PARAM` for a place that cannot be written to;
            `E-PERIOD-OPEN` while the month may still change; `E-DIGEST`, `E-EVIDENCE-…` when something is not
            what was recorded; `E-SEAL` when the population is not the sealed one.
    """
    folder = _folder(out, period, n, seed)
    with books.admin.read() as con:
        proposals.require_closed(con, period)
        sealed_as = con.execute(
            sa.select(t.period_lock.c.seal_digest).where(t.period_lock.c.period_start == period.start)
        ).scalar_one()
        chain, about = verify.entries(books, con, period)
        sealing = next((row for row in chain if (row["kind"], row["sha256"]) == ("seal", sealed_as)), None)
        if sealing is None:
            raise CopsError(
                "E-SEAL",
                f"period {period}",
                expected=f"its seal {sealed_as} in the chain of evidence",
                found="no such entry",
                next_step=f"run `cops evidence verify {period}`",
            )
        seal_document = read(books, sealing["evidence_seq"])
        tables = _of_entries(books, con, period, n, seed)
        tables |= _of_books(con, period)
        tables["chain"] = chain
    _require_sealed(period, tables["population"], json.loads(seal_document))
    tables |= {
        "controls": audit_controls.matrix(books, period, chain),
        "access": audit_controls.access(books, period),
    }
    tables["parameters"] = [
        {
            "period": str(period),
            "n": n,
            "seed": seed,
            "seal_digest": sealed_as,
            "population": len(tables["population"]),
            "chosen": len(tables["sample"]),
        }
    ]
    entries = [row for row in chain if row["evidence_seq"] in about]
    with faults.writing_to(out, "give another with --out"):
        digest = _whole(books, period, folder, tables, seal_document, entries)
    allocated = Decimal(json.loads(seal_document)["totals"]["allocated_cost_usd"])
    population, picked = len(tables["population"]), len(tables["sample"])
    return Sampled(folder, population, picked, allocated, sealed_as, digest)


def _whole(
    books: Books, period: Period, folder: Path, tables: Mapping[str, Rows], sealed: bytes, entries: Rows
) -> str:
    """Writes the folder beside its place and moves it there when it is whole; the digest of its sums."""
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for name, rows in tables.items():
            _write(unfinished / f"{name}.csv", rows, t.metadata.tables.get(name))
        (unfinished / "seal.json").write_bytes(sealed)
        _objects(books, unfinished, entries)
        _signatures(books, unfinished, period)
        (unfinished / SCRIPT).write_bytes(Path(__file__).with_name("audit_verify.sh").read_bytes())
        digest = _sums(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return digest


def _folder(out: Path, period: Period, n: int, seed: str) -> Path:
    if n < 1 or not _SEED.fullmatch(seed):
        raise CopsError(
            "E-PARAM",
            "audit sample",
            expected="one entry at least, and a seed of 1 to 64 letters a-z, digits, '.', '_' and '-'"
            " that begins with a letter or digit",
            found=f"--n {n} --seed {seed!r}",
            next_step="let the auditor name one: --n 25 --seed 2025-4711",
        )
    named = hashlib.sha256(f"{n}:{seed}".encode()).hexdigest()[:8]
    folder = out / f"audit-{period}-{named}"
    if folder.exists():
        raise CopsError(
            "E-PARAM",
            f"folder {folder}",
            expected="none yet",
            found="one that is there already",
            next_step="remove it or name another place with --out; the same seed gives the same files",
        )
    return folder


def _of_entries(
    books: Books, con: sa.Connection, period: Period, n: int, seed: str
) -> dict[str, list[dict[str, Any]]]:
    """The population, the sample, and what was delivered behind it; bytes are verified first."""
    with books.lines(period) as engine:
        books.namespace(engine, con, period).provide([*seal.SEALED, "fact_cost_raw", "line_pool"])
        population = []
        for name in seal.SEALED:
            columns = [column for column, _ in LAKE_TABLES[name]]
            query = exp.select(*columns).from_(name).order_by("entry_id")
            population += [{"table_name": name, **row} for row in engine.fetch(query).dicts()]
        chosen = sampling.chosen((row["entry_id"] for row in population), n, seed)
        by_id = {row["entry_id"]: row for row in population}
        conservation = engine.fetch("fetch_conservation", {"period_start": period.start}).dicts()
        lines: list[dict[str, Any]] = []
        grain = sorted({(by_id[one]["service"], by_id[one]["charge_class"]) for _, one in chosen})
        for service, charge_class in grain:
            asked = {"period_start": period.start, "service": service, "charge_class": charge_class}
            groups = engine.fetch("fetch_line_groups", {**asked, "delivery_id": ""}).dicts()
            lines += [{"service": service, "charge_class": charge_class, **group} for group in groups]
    picked = [{"rank_sha3_256": rank, **by_id[entry_id]} for rank, entry_id in chosen]
    return {
        "population": population, "conservation": conservation, "lines": lines,
        "sample": [_behind(con, number, row) for number, row in enumerate(picked, start=1)],
    }  # fmt: skip


def _behind(con: sa.Connection, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A chosen entry with who made its run, and who approved the rule it follows."""
    journal, rules, bookings = t.publish_journal, t.allocation_rules, t.adjustment_booking
    run = con.execute(sa.select(journal).where(journal.c.run_id == row["run_id"])).one()
    rule = con.execute(
        sa.select(rules.c.approved_by).where(
            rules.c.rule_id == row["rule_id"], rules.c.version == row["rule_version"]
        )
    ).scalar()
    booked = con.execute(
        sa.select(bookings.c.adjustment_id).where(bookings.c.run_id == row["run_id"])
    ).scalar()
    return {
        "sample_number": number, **row, "run_by": run.actor, "run_at": run.published_at,
        "policy_version": run.policy_version, "inputs_id": run.inputs_id, "rule_approved_by": rule,
        "adjustment_id": booked,
    }  # fmt: skip


def _of_books(con: sa.Connection, period: Period) -> dict[str, list[dict[str, Any]]]:
    """What the admin database says of the month: one CSV a table, rows in the order of their keys."""
    start, found = period.start, {}
    for name in (
        "publish_journal",
        "lake_file",
        "period_lock_event",
        "recon_exceptions",
        "invoice_freeze",
        "invoice_detail",
        "aws_invoices",
        "recon_run",
        "recon_run_tenant",
        "allocation_key_snapshot",
        "close_request",
    ):
        table = t.metadata.tables[name]
        query = sa.select(table).where(table.c.period_start == start)
        found[name] = _dicts(con, query.order_by(*table.primary_key.columns))
    deliveries, delivered = t.cur_delivery, t.cur_delivery_file
    found["delivered_files"] = _dicts(
        con,
        sa.select(
            deliveries.c.source_id,
            deliveries.c.delivery_id,
            delivered.c.position,
            delivered.c.name,
            delivered.c.sha256,
            delivered.c.size_bytes,
        )
        .join(delivered, delivered.c.delivery_id == deliveries.c.delivery_id)
        .where(deliveries.c.delivery_id.in_([row.delivery_id for row in month.shown(con, period)]))
        .order_by(deliveries.c.source_id, delivered.c.position),
    )
    found["approval"] = audit_controls.approvals(con, period)
    return found


def _dicts(con: sa.Connection, query: sa.Select[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in con.execute(query).mappings()]


def _require_sealed(period: Period, population: Rows, sealed: Mapping[str, Any]) -> None:
    """The population is complete: as many entries as were sealed, and the same three totals."""
    totals = {name: f"{sum((row[name] for row in population), Decimal(0)):f}" for name in sealed["totals"]}
    if (len(population), totals) != (sealed["entry_count"], sealed["totals"]):
        raise CopsError(
            "E-SEAL",
            f"period {period}",
            expected=f"{sealed['entry_count']} entries, {sealed['totals']}",
            found=f"{len(population)} entries, {totals}",
            next_step=f"nothing was written; run `cops evidence verify {period}` and find out why",
        )


def _write(path: Path, rows: Rows, table: sa.Table | None) -> None:
    """A table without rows still has its line of columns: a program that reads it asks for them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        columns = list(rows[0]) if rows else table.columns.keys() if table is not None else []
        csv_cells.write(file, columns, [list(row.values()) for row in rows])


def _objects(books: Books, folder: Path, entries: Rows) -> None:
    """The documents behind the month, and the bytes that each entry of the chain is the hash of."""
    (folder / "objects").mkdir()
    (folder / "entries").mkdir()
    for row in entries:
        (folder / "entries" / f"{row['evidence_seq']:08d}").write_bytes(entry_bytes(row))
        if row["kind"] in _WHOLE:
            (folder / "objects" / row["sha256"]).write_bytes(read(books, row["evidence_seq"]))


def _signatures(books: Books, folder: Path, period: Period) -> None:
    """What people signed about the month, each as OpenSSH verifies it with the signers of that moment."""
    with books.admin.read() as con:
        found = [row for row in signatures.history(con) if row["period_start"] in (None, period.start)]
    for row in found:
        place = folder / "signatures" / row["signature_id"]
        signatures.export(books, row["signature_id"], place)
        for name in ("principal", "namespace"):
            (place / name).write_text(row[name] + "\n", encoding="utf-8")


def _sums(folder: Path) -> str:
    """Writes `SHA256SUMS` as `sha256sum` does; its own digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()
