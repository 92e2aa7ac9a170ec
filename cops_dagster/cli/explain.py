"""`cops explain`: what is behind an amount, down to the delivered file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books
    from cops_dagster.period import Period
    from cops_dagster.reports.explain import Explanation


def explain(
    entry_id: Annotated[
        str | None, typer.Argument(metavar="ENTRY_ID", help="An entry of the ledger.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Who bears it.")] = None,
    period: Annotated[str | None, typer.Option(help="Billing month, YYYY-MM.")] = None,
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Explain an entry, or list what a tenant bears in a month with the entries to ask about."""
    from dataclasses import asdict

    from cops_dagster.reports import explain

    if (entry_id is None) == (tenant is None) or (tenant is not None and period is None):
        raise CopsError(
            "E-PARAM",
            "explain",
            expected="an entry id, or --tenant with --period",
            found="neither or both",
            next_step="write it like `cops explain --tenant acme --period 2025-09`",
        )
    books = desk.books()
    if entry_id is not None:
        found = explain.entry(books, entry_id)
        if json:
            output.as_json(asdict(found))
        else:
            _print(found)
        return
    from cops_dagster.money import footing

    rows, total = explain.entries(books, desk.month(str(period)), str(tenant), service)
    if json:
        output.as_json({"tenant_id": tenant, "period": period, "allocated_cost_usd": total, "entries": rows})
        return
    shown, *amounts = footing.told(
        [("level", total), *(("part", row["allocated_cost_usd"]) for row in rows)], places=6
    )
    output.table(
        f"{tenant} in {period}: {shown} USD",
        ["entry", "service", "component", "class", "method", "rule", "USD"],
        [
            [
                row["entry_id"],
                row["service"],
                row["service_component"],
                row["charge_class"],
                row["allocation_method"],
                row["rule_id"],
                usd,
            ]
            for row, usd in zip(rows, amounts, strict=True)
        ],
        right=["USD"],
    )
    if service is None:
        _say_billable(books, desk.month(str(period)), str(tenant))


def _say_billable(books: Books, period: Period, tenant: str) -> None:
    """How the entries lead to what the statement says, where the month is reconciled."""
    from cops_dagster.money import footing
    from cops_dagster.reconciliation import statement
    from cops_dagster.reconciliation.bridge import told

    try:
        rows = {row["step"]: row for row in statement.bridge(books, period, tenant)}
    except CopsError as refusal:
        if refusal.code not in ("E-PERIOD-UNKNOWN", "E-TENANT-UNKNOWN"):
            raise
        return
    steps = [rows[name] for name in ("allocated", "adjustments", "markup", "expected")]
    usd = footing.told([(row["kind"], row["amount_usd"]) for row in steps])
    said = [f"{told(row['step'])} {shown}" for row, shown in zip(steps, usd, strict=True)]
    output.say(f"by the newest reconciliation, USD: {' + '.join(said[:-1])} = {said[-1]}")


def _print(found: Explanation) -> None:
    entry = found.entry
    output.table("entry", ["column", "value"], [[name, value] for name, value in entry.items()])
    if found.reversed_by:
        output.say(f"run {found.reversed_by[:16]} took this entry back: it counts no more")
    if found.rule:
        output.table(
            f"rule {entry['rule_id']} version {entry['rule_version']}",
            ["column", "value"],
            [[name, value] for name, value in found.rule.items() if value is not None],
        )
    if found.key:
        output.table(
            f"key {entry['key_name']}",
            ["tenant", "value"],
            [list(pair) for pair in found.key.items()],
            right=["value"],
        )
    if found.chain:
        numbers = ["passes %", "borne there %", f"{entry['tenant_id']} %"]
        output.table(
            "its way, in per cent of the pool",
            ["pool", "key", "sends on", *numbers],
            [
                [
                    one.place,
                    one.key_name,
                    "; ".join(f"{name} {pct:f} %" for name, pct in one.sends_pct.items()),
                    f"{one.passes_pct:f}",
                    f"{one.borne_pct:f}",
                    f"{one.tenant_pct:f}",
                ]
                for one in found.chain
            ],
            right=numbers,
        )
    output.table(
        f"CUR lines of {entry['service']}, {entry['charge_class']}",
        ["account", "line type", "usage type", "tenant tag", "lines", "USD"],
        [[*_but_cost(group), output.usd(group["unblended_usd"], 6)] for group in found.line_groups],
        right=["lines", "USD"],
    )
    if found.line_groups_left:
        output.say(f"and {found.line_groups_left} smaller groups")
    output.table(
        "delivered files",
        ["source", "file", "rows", "sha256"],
        [[file["source_id"], file["name"], file["row_count"], file["sha256"]] for file in found.files],
        right=["rows"],
    )
    output.table(
        "evidence",
        ["seq", "kind", "sha256"],
        [[one["evidence_seq"], one["kind"], one["sha256"]] for one in found.evidence],
        right=["seq"],
    )


def _but_cost(group: dict[str, Any]) -> list[Any]:
    return [value for name, value in group.items() if name != "unblended_usd"]
