"""The cost side of FOCUS: what AWS billed, line by line where a tag names the tenant, else by pool.

Belongs here: Cost and Usage of a month as one Parquet file, held against the ledger to difference 0. Does not
belong here: the allocation block (`exports/focus_entries.py`), other datasets (`exports/focus_documents.py`),
the folder (`exports/focus.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlglot import exp

from cops_dagster.errors import CopsError
from cops_dagster.exports import focus_entries, focus_services
from cops_dagster.exports.focus_columns import Version, cost_and_usage
from cops_dagster.exports.focus_entries import Entry, Facts
from cops_dagster.exports.focus_services import Services
from cops_dagster.exports.ready import Ready
from cops_dagster.lake import focus_rows, line_owners, tag_columns
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.tables import FACT_COST_ALLOCATED
from cops_dagster.lake.views import read_parquet, view
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster.stores import tables as t
from cops_dagster.tagging import tag

ISSUER = "AWS"
ENTRIES = ("fact_cost_allocated", "fact_cost_adjustment")


@dataclass(frozen=True)
class Written:
    """What was written: charges, their cost by kind, and the commitments that the bill names."""

    rows: int
    billed_usd: Decimal
    apart: Sequence[str]
    commitments: Sequence[dict[str, Any]]


def write(
    books: Books,
    con: sa.Connection,
    ready: Ready,
    version: Version,
    services: Services,
    folder: Path,
    target: Path,
) -> Written:
    """Writes Cost and Usage of the month.

    Args:
        folder: room to work in, where the target lies too.

    Raises:
        CopsError: `E-FOCUS-UNMAPPED`; `E-EXPORT-SUM` when the charges of an entry are not the entry: nothing
            was written that anybody sees; what reading lines raises.
    """
    start: dict[str, Any] = {"period_start": ready.period.start, "run_id": ready.head.run_id}
    with books.engine() as own, _lines(books, con, ready.period, folder) as engine:
        books.namespace(own, con, ready.period).provide(ENTRIES)
        direct = own.fetch("focus_entries_direct", start).dicts()
        booked = own.fetch("focus_adjustments", start).dicts()
        mapped = focus_services.require(services, costs(own, start), draft=ready.is_draft)
        engine.table("focus_services", [(name, "VARCHAR") for name in _SERVICES], map(tuple, mapped))
        _provide(engine, direct, [])
        focus_rows.provide_lines(engine, ready.period.start)
        facts = _facts(con, engine, ready, mapped)
        apart, leftovers = _apart(engine, direct)
        columns = cost_and_usage(version, has_commitments=True)
        whole = [entry for entry in direct if entry["entry_id"] in apart]
        if apart:
            _provide(engine, direct, sorted(apart))
        focus_rows.provide_entries(
            engine, COLUMNS, map(row, _charges(own, start, facts, whole, leftovers, booked))
        )
        tables = (focus_rows.LINES, focus_rows.ENTRIES)
        if version == "1.2" and not engine.fetch(_committed()).rows:
            columns = cost_and_usage(version, has_commitments=False)
        rows = focus_rows.stage(engine, tables, columns, given(ready, ISSUER), target)
        commitments = engine.fetch("focus_commitments").dicts()
    return Written(rows, _held(books, con, ready, target), sorted(apart), commitments)


def _committed() -> exp.Query:
    named = exp.select("commitment_discount_id").from_(focus_rows.LINES)
    return named.where("commitment_discount_id IS NOT NULL").limit(1)


_SERVICES = ("service", "charge_class", "service_name", "service_category", "service_subcategory")
_DIRECT = (
    "entry_id", "service", "service_component", "charge_class", "tenant_id", "plan_id", "delivery_id",
)  # fmt: skip
COLUMNS = tuple(
    {
        source: (source, focus_rows.KINDS[kind])
        for version in ("1.2", "1.4")
        for _, source, kind in cost_and_usage(version, has_commitments=True)
        if source != "nothing"
    }.values()
)
"""The columns of charges that are no lines, for every version."""


@contextmanager
def _lines(books: Books, con: sa.Connection, period: Period, folder: Path) -> Iterator[Engine]:
    """An engine for lines, with `owned_lines` to come, that writes into one folder."""
    with books.apart(period) as engine:
        names = books.namespace(engine, con, period)
        tag.group(books, con, names, period)
        line_owners.provide(engine, tag.parameters(books, con, period))
        names.provide(["fact_cost_raw"])
        tags = books.policy.tags
        focus_rows.provide_tagged_lines(engine, "fact_cost_raw", "tagged_lines")
        tag_columns.provide_cost_lines(
            engine,
            tags,
            tag.boundaries(con, period),
            inherit=tags.inherit,
            name="single_cost_lines",
            of="tagged_lines",
        )
        engine.lock_down([path for paths in names.paths.values() for path in paths], folder)
        yield engine


def _provide(engine: Engine, direct: Sequence[Entry], apart: list[str]) -> None:
    rows = (tuple(entry[name] for name in _DIRECT) for entry in direct)
    engine.table("direct_entries", [(name, "VARCHAR") for name in _DIRECT], rows)
    engine.table("entries_apart", [("entry_id", "VARCHAR")], ((one,) for one in apart))


def costs(own: Engine, start: dict[str, Any]) -> dict[tuple[str, str], Decimal]:
    """What each service and charge class costs, all signs counted; the engine shows the month's entries."""
    found: dict[tuple[str, str], Decimal] = {}
    for one in own.fetch("focus_service_costs", start).dicts():
        found[one["service"], one["charge_class"]] = one["cost_usd"]
    return found


def _facts(con: sa.Connection, engine: Engine, ready: Ready, mapped: list[list[str]]) -> Facts:
    pools = engine.fetch("pool_dimensions").dicts()
    snapshots, tenants = t.allocation_key_snapshot, t.tenants
    units = con.execute(
        sa.select(snapshots.c.key_name, sa.func.min(snapshots.c.measure))
        .where(snapshots.c.inputs_id == ready.head.inputs_id)
        .group_by(snapshots.c.key_name)
    ).all()
    by_pool: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for one in engine.fetch("pool_invoices").dicts():
        by_pool.setdefault(tuple(one[name] for name in focus_entries.POOL[2:6]), []).append(one)
    payers: dict[str, set[str]] = {}
    for pool in pools:
        payers.setdefault(pool["delivery_id"], set()).add(pool["payer"])
    return Facts(
        ready.period,
        ready.head.run_id,
        ready.head.inputs_id,
        {(service, charge_class): rest for service, charge_class, *rest in mapped},
        {tuple(pool[name] for name in focus_entries.POOL[2:6]): pool for pool in pools},
        by_pool,
        {row.tenant_id: row.name for row in con.execute(sa.select(tenants))},
        {row[0]: row[1] for row in units},
        {delivery: found.pop() for delivery, found in payers.items() if len(found) == 1 and found != {None}},
    )


def _apart(engine: Engine, direct: Sequence[Entry]) -> tuple[set[str], list[Entry]]:
    """Entries that today's lines do not add up to, and what negations leave of the others.

    A run that took another one back posted the entries of the one before: today's register does not make
    them of the lines, and they leave as a whole.
    """
    left = {row["entry_id"]: row["billed_usd"] for row in engine.fetch("focus_leftovers").dicts()}
    sums = {row["entry_id"]: row for row in engine.fetch("focus_line_sums").dicts()}
    apart: set[str] = set()
    leftovers: list[Entry] = []
    for entry in direct:
        found = sums.get(entry["entry_id"])
        rest = left.get(entry["entry_id"], Decimal(0))
        told = (
            (found["billed_usd"] + rest, found["effective_usd"], found["net_effective_usd"])
            if found
            else (rest, Decimal(0), Decimal(0))
        )
        if told != tuple(entry[name] for name in _COSTS):
            apart.add(entry["entry_id"])
        elif rest:
            of_lines = {"invoice_id": found["invoice_id"], "payer": found["payer"]} if found else {}
            nothing = dict.fromkeys(_COSTS, Decimal(0)) | {"allocated_cost_usd": rest}
            leftovers.append({**entry, **nothing, **of_lines})
    return apart, leftovers


_COSTS = ("allocated_cost_usd", "allocated_amortized_cost_usd", "allocated_net_amortized_cost_usd")


def _charges(
    own: Engine,
    start: dict[str, Any],
    facts: Facts,
    whole: Sequence[Entry],
    leftovers: Sequence[Entry],
    booked: Sequence[Entry],
) -> Iterator[focus_entries.Charge]:
    shared = (dict(zip(_ALLOCATED, row, strict=True)) for row in own.each("focus_entries_shared", start))
    yield from focus_entries.parts(shared, facts)
    for entry in whole:
        yield from focus_entries.charges(entry, facts, grain="entry")
    for entry in leftovers:
        yield from focus_entries.charges(entry, facts, grain="negation")
    yield from focus_entries.corrections(booked, facts)


_ALLOCATED = tuple(name for name, _ in FACT_COST_ALLOCATED)


def row(charge: focus_entries.Charge) -> tuple[Any, ...]:
    """A charge in the order of `COLUMNS`."""
    return tuple(charge.get(source) for source, _ in COLUMNS)


def given(ready: Ready, issuer: str) -> dict[str, str]:
    """What every charge of a month says where nothing else is known of it."""
    said = {
        "billing_currency": "USD",
        "billing_period_start": str(ready.period.start),
        "billing_period_end": str(ready.period.end),
        "invoice_issuer_name": issuer,
        "provider_name": issuer,
        "publisher_name": issuer,
        "service_provider_name": issuer,
        "host_provider_name": ISSUER,
        "billing_account_type": "Payer Account",
        "pricing_currency": "USD",
        "x_run_id": ready.head.run_id,
    }
    return said | ({"x_draft": "draft"} if ready.is_draft else {})


def _held(books: Books, con: sa.Connection, ready: Ready, target: Path) -> Decimal:
    """Σ BilledCost of the written file, after every entry was found in it to the last digit."""
    with books.engine() as engine:
        books.namespace(engine, con, ready.period).provide(ENTRIES)
        charged = {
            "entry_id": "x_EntryId", "billed_usd": "BilledCost", "effective_usd": "EffectiveCost",
            "net_effective_usd": "x_NetEffectiveCost",
        }  # fmt: skip
        columns = [exp.alias_(exp.column(name, quoted=True), alias) for alias, name in charged.items()]
        view(engine, "focus_charges", exp.select(*columns).from_(read_parquet([target]).subquery("f")))
        start: dict[str, Any] = {"period_start": ready.period.start, "run_id": ready.head.run_id}
        different = engine.fetch("focus_difference", start).dicts()
        if different:
            first = different[0]
            raise CopsError(
                "E-EXPORT-SUM",
                f"FOCUS export of {ready.period}",
                expected=f"{first['billed_usd']} USD for entry {first['entry_id']}",
                found=f"{first['charged_usd']} USD, and {len(different) - 1} more entries differ",
                next_step="nothing left COPS; run `cops materialize`, and report it if it stays",
            )
        total = exp.select(exp.func("SUM", exp.column("billed_usd"))).from_("focus_charges")
        return engine.fetch(total).rows[0][0] or Decimal(0)
