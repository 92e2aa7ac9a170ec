"""`cops adjust`: corrections of closed months, proposed here and approved by a second person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from cops_dagster.ledger.books import Books

app = typer.Typer(no_args_is_help=True, help="Corrections of closed months.")

_Period = Annotated[str, typer.Argument(help="The closed month it is about, YYYY-MM.")]
_Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@app.callback()
def _group() -> None:
    """Corrections of closed months."""


@app.command("list")
def show(
    period: Annotated[str | None, typer.Argument(help="Only of this month, YYYY-MM.")] = None,
    json: _Json = False,
) -> None:
    """List proposed and booked adjustments with their effect per tenant and class of change."""
    from dataclasses import asdict

    from cops_dagster.adjustments import proposals

    wanted = desk.known_month(period) if period else None
    with desk.books().admin.read() as con:
        found = proposals.proposals(con, wanted)
    if json:
        output.as_json(
            [
                {**asdict(one), "usage_period": str(one.usage_period), "booked_in": _month(one.booked_in)}
                for one in found
            ]
        )
        return
    rows = []
    for one in found:
        stands = _month(one.booked_in) or ("waits for approval" if one.line_count else "nothing to adjust")
        effects = one.effects or [{"change_class": "", "tenant_id": "", "unblended_usd": None}]
        rows += [
            [
                one.adjustment_id[:16],
                str(one.usage_period),
                one.kind,
                effect["change_class"],
                effect["tenant_id"],
                output.usd(effect["unblended_usd"], 6),
                stands,
                one.requested_by,
            ]
            for effect in effects
        ]
    output.table(
        "adjustments",
        ["adjustment", "about", "kind", "change", "tenant", "USD", "booked in", "proposed by"],
        rows,
        right=["USD"],
    )


def _month(period: object) -> str | None:
    return str(period) if period else None


@app.command("propose")
def propose(period: _Period, json: _Json = False) -> None:
    """Propose what a delivery that came after the close changed. Also done by `cops materialize`."""
    from cops_dagster.adjustments import late
    from cops_dagster.ingestion import look

    wanted = desk.month(period)
    books = desk.books()
    look.look(books, wanted)
    _said(late.propose(books, wanted), str(wanted), as_json=json, nothing="nothing came late")


@app.command("move")
def move(
    period: _Period,
    bearer: Annotated[str, typer.Option("--from", help="Who bears it now, such as __unallocated__.")],
    to: Annotated[list[str], typer.Option(metavar="TENANT=PERCENT", help="Who shall bear it; sums to 100.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    evidence: Annotated[str, typer.Option(metavar="LINK", help="What proves it.")],
    service: Annotated[str | None, typer.Option(help="Only cost of this service.")] = None,
    charge_class: Annotated[str | None, typer.Option(help="Only cost of this charge class.")] = None,
    json: _Json = False,
) -> None:
    """Propose a one-time rule: cost of a closed month moved to others, once."""
    from decimal import Decimal, InvalidOperation

    from cops_dagster.adjustments import one_time

    wanted = desk.month(period)
    shares = {}
    for pair in to:
        name, _, percent = pair.rpartition("=")
        try:
            shares[name] = Decimal(percent)
        except InvalidOperation:
            raise CopsError(
                "E-PARAM",
                f"--to {pair!r}",
                expected="TENANT=PERCENT",
                found=repr(pair),
                next_step="write it like --to acme=60 --to globex=40",
            ) from None
    books = desk.books()
    made = one_time.propose(
        books,
        wanted,
        bearer=bearer,
        shares=shares,
        reason=reason,
        evidence_links=evidence,
        service=service,
        charge_class=charge_class,
    )
    by = _by(books, "propose", "adjustment", made)
    _said(made, str(wanted), as_json=json, nothing="", by=by)


@app.command("note")
def note(
    period: _Period,
    tenant: Annotated[str, typer.Option(help="The tenant whose invoice differs.")],
    amount_usd: Annotated[str, typer.Option(help="By how much, in USD.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    evidence: Annotated[str, typer.Option(metavar="LINK", help="What proves it.")],
    json: _Json = False,
) -> None:
    """Note why a closed month differs from what was invoiced; no amount changes."""
    from cops_dagster.evidence import consent
    from cops_dagster.money import amount
    from cops_dagster.reconciliation import notes

    wanted = desk.month(period)
    exact = amount.to_decimal(amount.parse(amount_usd, subject="--amount-usd"))
    books = desk.books()
    made = notes.note(
        books,
        wanted,
        tenant_id=tenant,
        amount_usd=exact,
        reason=reason,
        evidence=evidence,
    )
    by = _by(books, "note", consent.NOTE, made)
    _said(made, str(wanted), as_json=json, nothing="", by=by, stands_in="exceptions list")


def _by(books: Books, kind: str, subject_type: str, made: str) -> dict[str, str]:
    """Who made it, and what proves that."""
    from cops_dagster.evidence import signatures

    with books.admin.read() as con:
        return {"by": books.actor, "identity": signatures.told(con, kind, (subject_type, made))}


def _said(
    made: str | None,
    period: str,
    *,
    as_json: bool,
    nothing: str,
    by: dict[str, str] | None = None,
    stands_in: str = "adjust list",
) -> None:
    """What was made, and where a second person sees it: a note is an exception, and in no list of ours."""
    if as_json:
        output.as_json({"period": period, "id": made, **(by or {})})
    elif made is None:
        output.say(f"{period}: {nothing}")
    else:
        who = f" by {by['by']} ({by['identity']})" if by else ""
        output.say(f"{period}: proposed {made[:16]}{who}")
        output.say(
            f"next: cops {stands_in} {period}; then, by a second person, cops approve {made[:16]} --reason …"
        )
