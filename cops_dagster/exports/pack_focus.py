"""The sell side of FOCUS for one tenant after the other: its charges and documents, and nobody else's.

Belongs here: the files below `focus/` of a pack. Does not belong here: what the charges are
(`exports/focus_sell.py`), their columns (`exports/focus_columns.py`), the export of all (`exports/focus.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.exports import focus, focus_columns, focus_cost, focus_sell, focus_services
from cops_dagster.exports.focus_columns import Version
from cops_dagster.exports.focus_entries import Charge
from cops_dagster.exports.focus_services import Services
from cops_dagster.exports.pack_facts import Facts
from cops_dagster.exports.pack_names import Names
from cops_dagster.exports.ready import Ready
from cops_dagster.lake import focus_rows, guarded_csv
from cops_dagster.lake.duck import DuckDB
from cops_dagster.ledger.books import Books

VERSION: Version = "1.4"
_BY_PEOPLE = ("service_name", "x_service_code", "x_service_component", "x_reason")
"""What a charge says in words that people chose, perhaps about somebody else."""


@dataclass(frozen=True)
class Seller:
    """The charges of a month by tenant, and what writes them."""

    books: Books
    con: sa.Connection
    month: Ready
    engine: DuckDB
    charges: Mapping[str, Sequence[Charge]]

    def write(self, folder: Path, facts: Facts, names: Names) -> None:
        """Writes the Parquet and CSV files of one tenant.

        Raises:
            CopsError: `E-EXPORT-SUM` when they do not come to the statement.
        """
        tenant, issuer = facts.tenant_id, self.books.settings.exports.issuer
        charges = self.charges.get(tenant, ())
        effective = sum((one["effective_cost"] for one in charges), Decimal(0))
        if effective != facts.stated["total"]:
            raise CopsError(
                "E-EXPORT-SUM",
                f"FOCUS in the pack of {tenant} in {self.month.period}",
                expected=f"{facts.stated['total']}, as the statement says",
                found=f"{effective} in charges",
                next_step="hand out nothing; run `cops evidence verify`, and report it",
            )
        rows = [focus_cost.row(_as_read_by(one, tenant, names)) for one in charges]
        for name in ("parquet", "csv"):
            (folder / name).mkdir(parents=True)
        columns = focus_columns.cost_and_usage(VERSION, has_commitments=True)
        target = folder / "parquet" / f"{focus.CHARGES}.parquet"
        focus_rows.provide_entries(self.engine, focus_cost.COLUMNS, rows)
        given = focus_cost.given(self.month, issuer)
        focus_rows.stage(self.engine, [focus_rows.ENTRIES], columns, given, target)
        kinds = [(name, kind) for name, _, kind in columns]
        guarded_csv.write(self.engine, target, kinds, folder / "csv" / f"{focus.CHARGES}.csv")
        focus.beside(self.books, self.con, self.month, "sell", issuer, (), target, folder)


@contextmanager
def selling(
    books: Books, con: sa.Connection, month: Ready, services: Services, tenant_id: str
) -> Iterator[Seller]:
    """The sell side of a month, of one tenant or of all, read once.

    Raises:
        CopsError: `E-FOCUS-UNMAPPED`; what `focus_sell.charges` raises.
    """
    with books.engine() as engine:
        books.namespace(engine, con, month.period).provide(focus_cost.ENTRIES)
        start = {"period_start": month.period.start, "run_id": month.head.run_id}
        mapped = focus_services.require(services, focus_cost.costs(engine, start), draft=month.is_draft)
        by_service = {(service, charge_class): rest for service, charge_class, *rest in mapped}
        charges: defaultdict[str, list[Charge]] = defaultdict(list)
        for one in focus_sell.charges(books, con, engine, month, by_service, tenant=tenant_id):
            charges[one["x_tenant_id"]].append(one)
        yield Seller(books, con, month, engine, charges)


def _as_read_by(charge: Charge, tenant_id: str, names: Names) -> Charge:
    """A charge without the names of others."""
    shown = {name: names.shown(charge[name], tenant_id) or None for name in _BY_PEOPLE if charge.get(name)}
    service, told = charge.get("x_service_code"), charge["charge_description"]
    if service and shown["x_service_code"] != service:  # a description begins with it
        shown["charge_description"] = f"{shown['x_service_code']}{told.removeprefix(service)}"
    return {**charge, **shown}
