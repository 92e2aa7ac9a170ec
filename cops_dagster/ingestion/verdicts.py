"""Verdicts on deliveries: what is worth a look before their lines are believed. Pure.

Belongs here: warnings over what was measured at first sight, and the phase of a month. Does not belong
here: what refuses a delivery (`ingestion/first_sight.py`) or holds it back (`ingestion/plausible.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from cops_dagster.ingestion.source_rules import Clash
from cops_dagster.verdict import Verdict, equal


@dataclass(frozen=True)
class Profile:
    """What is known of one shown delivery. Dimensions hold (rows, cost in USD) by value."""

    source_id: str
    rows: int
    cost_usd: Decimal
    strays: Sequence[str] = ()
    same_bytes: int = 0
    outside_rows: int = 0
    negative_usage_rows: int = 0
    negative_usage_usd: Decimal = Decimal(0)
    lost_rows: int = 0
    repeated_rows: int = 0
    repeated_usd: Decimal = Decimal(0)
    line_types: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)
    days: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)
    columns: frozenset[str] = frozenset()


def warnings(
    shown: Sequence[Profile], before: Sequence[Profile | None], known_types: frozenset[str]
) -> list[Verdict]:
    """Every warning over the deliveries that readers see, each beside the one it replaced."""
    return [
        _rows_not_falling(shown, before),
        _only_named_files(shown),
        _files_differ(shown),
        _no_columns_removed(shown, before),
        _known_line_types(shown, known_types),
        _usage_in_period(shown),
        _no_negative_usage(shown),
        _lines_distinct(shown),
        _values_carried(shown),
    ]


def _rows_not_falling(shown: Sequence[Profile], before: Sequence[Profile | None]) -> Verdict:
    pairs = [(new, old) for new, old in zip(shown, before, strict=True) if old is not None]
    falling = [
        {
            "source_id": new.source_id,
            "usage_day": day,
            "rows": new.days.get(day, (0, 0))[0],
            "previous_rows": rows,
        }
        for new, old in pairs
        for day, (rows, _) in sorted(old.days.items())
        if new.days.get(day, (0, Decimal(0)))[0] < rows
    ]
    return Verdict(
        "rows_not_falling",
        not falling and all(new.rows >= old.rows for new, old in pairs),
        "WARN",
        {
            "rows": sum(new.rows for new in shown),
            "previous_rows": sum(old.rows for _, old in pairs) if pairs else None,
            "falling_days": falling[:31],
        },
    )


def _only_named_files(shown: Sequence[Profile]) -> Verdict:
    strays = [name for new in shown for name in new.strays]
    return Verdict(
        "folder_holds_only_named_files",
        not strays,
        "WARN",
        {"stray_files": len(strays), "names": ", ".join(map(repr, strays[:20]))},
    )


def _files_differ(shown: Sequence[Profile]) -> Verdict:
    same = sum(new.same_bytes for new in shown)
    return Verdict("files_differ", same == 0, "WARN", {"files_with_bytes_of_another": same})


def _no_columns_removed(shown: Sequence[Profile], before: Sequence[Profile | None]) -> Verdict:
    removed = sorted(
        {name for new, old in zip(shown, before, strict=True) if old for name in old.columns - new.columns}
    )
    return Verdict("no_columns_removed", not removed, "WARN", {"removed_columns": ", ".join(removed)})


def _known_line_types(shown: Sequence[Profile], known: frozenset[str]) -> Verdict:
    unknown = [
        {"line_type": name or "(empty)", "rows": rows, "usd": cost}
        for new in shown
        for name, (rows, cost) in sorted(new.line_types.items())
        if name not in known
    ]
    return Verdict("line_types_are_known", not unknown, "WARN", {"unknown_types": unknown[:20]})


def _usage_in_period(shown: Sequence[Profile]) -> Verdict:
    outside = sum(new.outside_rows for new in shown)
    return Verdict("usage_lies_in_period", outside == 0, "WARN", {"rows_outside": outside})


def _no_negative_usage(shown: Sequence[Profile]) -> Verdict:
    rows = sum(new.negative_usage_rows for new in shown)
    return Verdict(
        "usage_is_not_negative",
        rows == 0,
        "WARN",
        {"negative_rows": rows, "negative_usd": sum((new.negative_usage_usd for new in shown), Decimal(0))},
    )


def _lines_distinct(shown: Sequence[Profile]) -> Verdict:
    rows = sum(new.repeated_rows for new in shown)
    return Verdict(
        "lines_are_distinct",
        rows == 0,
        "WARN",
        {"repeated_rows": rows, "repeated_usd": sum((new.repeated_usd for new in shown), Decimal(0))},
    )


def _values_carried(shown: Sequence[Profile]) -> Verdict:
    lost = sum(new.lost_rows for new in shown)
    return Verdict("every_value_is_carried", lost == 0, "WARN", {"rows_with_a_value_not_carried": lost})


def each_payer_has_one_source(booked: Sequence[Clash], held: Sequence[str], *, sealed: bool) -> Verdict:
    """No payer's usage account and month is billed by two sources.

    Where two are booked nothing more is published until a person chooses. A newcomer that was held is a
    warning here and an error of `every_source_is_taken`: what is booked is right.

    Args:
        booked: sources whose shown deliveries bill the same.
        held: sources whose delivery was not taken for that reason.
    """
    twice = [
        {
            "sources": f"{clash.one}, {clash.other}",
            "payer_account_id": clash.pairs[0][0],
            "usage_account_id": clash.pairs[0][1],
            "pairs": len(clash.pairs),
        }
        for clash in booked
    ]
    return Verdict(
        "each_payer_has_one_source",
        not booked and not held,
        "ERROR" if booked and not sealed else "WARN",
        {"booked_twice": twice, "held_sources": ", ".join(held)},
        blocking=True,
    )


def every_source_is_taken(refused: Sequence[Mapping[str, object]]) -> Verdict:
    """The newest delivery of every source could be taken, and every report root reached.

    Args:
        refused: source, code, what was found and what to do, of those that could not.
    """
    return Verdict(
        "every_source_is_taken",
        not refused,
        "ERROR",
        {"refused_sources": len(refused), "refused": refused[:20]},
    )


def every_delivery_is_ingested(missing: Sequence[tuple[str, str]]) -> Verdict:
    """What is shown of each source is what is ingested of it.

    Args:
        missing: sources whose files could not be ingested, with the code they were refused for.
    """
    rows: list[Mapping[str, object]] = [{"source_id": name, "code": code} for name, code in missing]
    return Verdict("every_delivery_is_ingested", not rows, "ERROR", {"not_ingested": rows[:20]})


def every_source_has_its_place(placeless: Sequence[tuple[str, str]]) -> Verdict:
    """What is booked still lies in a report root; a source that does not stays booked until it is retired.

    Args:
        placeless: source, and where it was booked from.
    """
    rows: list[Mapping[str, object]] = [
        {"source_id": name, "booked_from": place} for name, place in placeless
    ]
    return Verdict("every_source_has_its_place", not rows, "WARN", {"without_a_place": rows[:20]})


def no_foreign_exports(found: Sequence[tuple[str, str]]) -> Verdict:
    """Nothing but Cost and Usage Reports lies in the report roots; what else does is left alone.

    Args:
        found: place of the export below its root, and what it is.
    """
    rows: list[Mapping[str, object]] = [{"export": name, "kind": kind} for name, kind in found]
    return Verdict("no_foreign_exports", not rows, "WARN", {"foreign_exports": rows[:20]})


def no_lines_quarantined(faults: Mapping[str, tuple[int, Decimal]]) -> Verdict:
    """No line is set aside; while one is, the month reconciles provisionally and cannot close."""
    return Verdict(
        "no_lines_quarantined",
        not faults,
        "WARN",
        {
            "quarantined_rows": sum(rows for rows, _ in faults.values()),
            "quarantined_usd": sum((cost for _, cost in faults.values()), Decimal(0)),
            "by_code": [
                {"code": code, "rows": rows, "usd": cost} for code, (rows, cost) in sorted(faults.items())
            ],
        },
    )


def tags_are_spelled_alike(variants: Mapping[str, Collection[str]]) -> Verdict:
    """Each tenant's tag is written in one way: a variant may be declared, but somebody typed it."""
    found: list[dict[str, object]] = [
        {"spelling": name, "variants": ", ".join(map(repr, sorted(spelled)))}
        for name, spelled in sorted(variants.items())
        if len(spelled) > 1
    ]
    return Verdict("tags_are_spelled_alike", not found, "WARN", {"variants": found[:20]})


def rows_match_delivery(delivered: int, accepted: int, quarantined: int) -> Verdict:
    """Every delivered line is accepted or quarantined."""
    return Verdict(
        "rows_match_delivery",
        delivered == accepted + quarantined,
        "ERROR",
        {"delivered_rows": delivered, "accepted_rows": accepted, "quarantined_rows": quarantined},
        blocking=True,
    )


def cost_matches_delivery(delivered: Decimal, accepted: Decimal, quarantined: Decimal) -> Verdict:
    """Delivered unblended cost = accepted + quarantined, difference exactly 0."""
    return equal(
        "cost_matches_delivery",
        delivered,
        accepted + quarantined,
        {"delivered_usd": delivered, "accepted_usd": accepted, "quarantined_usd": quarantined},
    )


def cost_views_bridge(
    views: Mapping[str, Decimal],
    absolute: Decimal,
    elsewhere: Decimal = Decimal(0),
    net_elsewhere: Decimal = Decimal(0),
) -> Verdict:
    """Unblended = amortized + true-up + upfront, gross and net, to AWS's own rounding (design rule 5.9).

    WARN above max(0.01, 1e-7 × Σ|cost|), ERROR above 1e-4 × Σ|cost|.

    Args:
        views: total of each cost view in USD; all of them stand in the figures, net views included.
        absolute: Σ|unblended cost| over the lines.
        elsewhere, net_elsewhere: what halves of commitments leave over (`ingestion/commitments.py`).
    """
    residual = views["unblended"] - views["amortized"] - views["true_up"] - views["upfront"] - elsewhere
    net_residual = (
        views["net_unblended"] - views["net_amortized"] - views["net_true_up"] - views["net_upfront"]
    ) - net_elsewhere
    worst = max(abs(residual), abs(net_residual))
    warn = max(Decimal("0.01"), absolute * Decimal("1e-7"))
    error = max(warn, absolute * Decimal("1e-4"))
    return Verdict(
        "cost_views_bridge",
        worst <= warn,
        "ERROR" if worst > error else "WARN",
        {f"{name}_usd": total for name, total in views.items()}
        | {
            "residual_usd": residual,
            "net_residual_usd": net_residual,
            "tolerance_usd": warn,
            "elsewhere_usd": elsewhere,
            "net_elsewhere_usd": net_elsewhere,
        },
    )


def no_unexpected_columns(unexpected: Sequence[str], revision: int) -> Verdict:
    """The delivery has no column that the newest schema revision does not know."""
    return Verdict(
        "no_unexpected_columns",
        not unexpected,
        "WARN",
        {"unexpected_columns": ", ".join(unexpected), "schema_revision": revision},
    )
