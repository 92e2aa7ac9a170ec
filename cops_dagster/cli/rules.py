"""`cops rules`: whether a rule set fits together, what it does, and what another one would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cops_dagster.cli import desk, output
from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from decimal import Decimal

    from cops_dagster.inputs.rule_effects import Claim
    from cops_dagster.inputs.rule_graph import PoolOf
    from cops_dagster.period import Period

app = typer.Typer(no_args_is_help=True, help="Allocation rules: checked, explained, compared.")


@app.callback()
def _group() -> None:
    """Allocation rules: checked, explained, compared."""


@app.command("check")
def check(
    path: Annotated[
        Path | None, typer.Argument(help="CSV file or folder, over the stored rules; nothing is loaded.")
    ] = None,
    period: Annotated[
        str | None, typer.Option(help="This month only, YYYY-MM; else from the newest open one on.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List every problem of the rules, stored or as they would be after a load."""
    from cops_dagster.inputs import rule_check

    month = desk.month_if_given(period)
    try:
        found = rule_check.check(desk.books(), [path] if path else (), month)
    except CopsError as refusal:
        if refusal.details.get("problems") and not json:
            _problems(refusal.details["problems"])
        raise
    listed = found.as_json()
    counts = {"errors": found.errors, "warnings": len(listed) - found.errors}
    if json:
        output.as_json({**counts, "days": found.days, "problems": listed})
    else:
        if listed:
            _problems(listed)
        days = f"{found.days[0]}" + (f" and {len(found.days) - 1} later days" if found.days[1:] else "")
        output.say(f"{counts['errors']} errors, {counts['warnings']} warnings; rules in force on {days}")
    if found.errors:
        raise typer.Exit(1)


def _problems(listed: list[dict[str, Any]]) -> None:
    output.table(
        "",
        ["severity", "code", "rules", "expected", "found", "first on"],
        [
            [
                one["severity"],
                one["code"],
                ", ".join(one["rule_ids"]),
                one["expected"],
                one["found"],
                one["days"][0],
            ]
            for one in listed
        ],
    )


@app.command("explain")
def explain(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    graph: Annotated[bool, typer.Option("--graph", help="The pools that feed one another instead.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what each rule claims of a month, and where it ends up."""
    from dataclasses import asdict
    from decimal import Decimal

    if graph:
        _graph(desk.month(period), json)
        return

    from cops_dagster.inputs import rule_effects
    from cops_dagster.money import footing

    found = rule_effects.explain(desk.books(), desk.month(period))
    if json:
        output.as_json(asdict(found))
        return
    left = sum((one.unblended_usd for one in found.unclaimed), Decimal(0))
    *claimed, unclaimed = footing.told_parts(
        found.pooled_usd,
        [
            *(
                (one.claimed_usd, one.tenants_usd, one.operator_usd, one.unallocated_usd)
                for one in found.rules
            ),
            (left, Decimal(0), Decimal(0), left),
        ],
    )
    missed = sum(one.pools for one in found.unclaimed)
    numbers = ["pools", "claimed USD", "tenants", "__operator__", "__unallocated__"]
    output.table(
        f"{found.period}: {found.pools} pools, {output.usd(found.pooled_usd)} USD without a tenant",
        ["priority", "rule", "matches", "method", "keys", *numbers, ""],
        [
            *(_claimed(one, amounts) for one, amounts in zip(found.rules, claimed, strict=True)),
            ["", "(no rule)", "", "", "", missed, *unclaimed, ""],
        ],
        right=["priority", *numbers],
    )


def _graph(month: Period, json: bool) -> None:
    from dataclasses import asdict

    from cops_dagster.inputs import rule_graph

    found = rule_graph.graph(desk.books(), month)
    if json:
        output.as_json(asdict(found))
        return
    if not found.pools:
        output.say(f"{month}: no rule with cost sends a pool to a service")
        return
    numbers = ["own USD", "received", "sent", "tenants", "__operator__", "__unallocated__", "difference"]
    output.table(
        f"{month}: pools that feed one another; own + received = sent + borne",
        ["pool", "class", "key", "sends to", *numbers],
        [
            [
                one.name,
                one.charge_class,
                one.key_name,
                "; ".join(f"{name} {usd}" for name, usd in sent.items()),
                *amounts,
                one.difference_usd,
            ]
            for one, sent, amounts in map(_balanced, found.pools)
        ],
        right=numbers,
    )


def _balanced(one: PoolOf) -> tuple[PoolOf, dict[str, str], list[str]]:
    """A pool's amounts in cents that add up: own and received, what is sent, and what is borne."""
    from decimal import Decimal

    from cops_dagster.money import footing

    received, sent = (sum(flows.values(), Decimal(0)) for flows in (one.received, one.sent))
    whole = one.own_usd + received
    (own,), (coming,) = footing.told_parts(whole, [(one.own_usd,), (received,)])
    borne = [(one.tenants_usd,), (one.operator_usd,), (one.unallocated_usd,)]
    (total, *each), *rest = footing.told_parts(whole, [(sent, *one.sent.values()), *borne])
    return one, dict(zip(one.sent, each, strict=True)), [own, coming, total, *(part[0] for part in rest)]


def _claimed(one: Claim, amounts: list[str]) -> list[object]:
    keys = [f"{key.key_name} {key.total.normalize():f} over {key.tenants}" for key in one.keys]
    return [
        one.priority, f"{one.rule_id} v{one.version}",
        ", ".join(f"{name} {value}" for name, value in one.matches.items()) or "everything",
        one.method, f"{len(keys)} keys" if keys[2:] else "; ".join(keys), one.pools,
        *amounts,
        "key empty: the run stops" if one.stops_the_run else "",
    ]  # fmt: skip


def _moved(amounts: list[Decimal]) -> list[str]:
    """Before, after and difference, per cost view, such that what is displayed adds up."""
    from cops_dagster.money import footing

    made: list[str] = []
    for at in range(0, len(amounts), 3):
        before, after, difference = amounts[at : at + 3]
        was, change, now = footing.told([("level", before), ("change", difference), ("level", after)])
        made += [was, now, change]
    return made


@app.command("diff")
def diff(
    period: Annotated[str, typer.Argument(help="Billing month, YYYY-MM.")],
    other: Annotated[
        str, typer.Option("--with", metavar="PATH|DATE", help="CSV over the stored rules, or YYYY-MM-DD.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what other rules would change for each tenant; nothing is posted."""
    from dataclasses import asdict

    from cops_dagster.inputs import rule_effects

    month, wanted = desk.month(period), rule_effects.other_set(other)
    found = rule_effects.diff(desk.books(), month, wanted)
    if json:
        output.as_json(asdict(found))
        return
    output.table(
        "rules that differ",
        ["rule", "version before", "version after"],
        [
            [one.rule_id, *(version or "not in force" for version in (one.version_before, one.version_after))]
            for one in found.rules
        ],
    )
    views = ["unblended"] if found.basis == "unblended" else ["unblended", found.basis]
    numbers = [f"{view} {side}" for view in views for side in ("before", "after", "difference")]
    output.table(
        f"{found.period}: share of pooled cost, USD; tenants are charged on {found.basis}",
        ["tenant", *numbers],
        [
            [one["tenant_id"], *_moved(list(one.values())[1 : len(numbers) + 1])]
            for one in map(asdict, found.effects)
        ],
        right=numbers,
    )
    if found.stops_the_run:
        output.say(f"the month would be refused (E-KEY-ZERO): {', '.join(found.stops_the_run)}")
