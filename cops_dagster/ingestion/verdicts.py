"""The checks of deliveries and of their lines, and when each holds. Pure.

Belongs here: a check as a constant, and as a function of what was measured. Does not belong here: measuring
it (`ingestion/checks.py`), what refuses a delivery (`ingestion/first_sight.py`) or holds it back
(`ingestion/plausible.py`). Two that are longer have modules: `commitments`, `tag_mapping`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from cops_dagster.errors import CopsError
from cops_dagster.ingestion.profile import Profile
from cops_dagster.ingestion.source_rules import Clash
from cops_dagster.verdict import OF_TAGGING, Check, Figure, Severity, Verdict, equal

_DELIVERY, _LINES = "cur_billing_master", "fact_cost_raw"

# fmt: off
DELIVERY_IS_COMPLETE = Check(
    "delivery_is_complete", "Every file that the newest manifest names is there and readable.", _DELIVERY,
    blocks=True, gravest="ERROR",
)
SCHEMA_HAS_REQUIRED_COLUMNS = Check(
    "schema_has_required_columns", "Required columns are there, each with its type.", _DELIVERY, blocks=True,
    gravest="ERROR",
)
ONE_CURRENCY = Check("one_currency", "Every line is in USD.", _DELIVERY, blocks=True, gravest="ERROR")
NO_DELIVERY_WAITS_FOR_APPROVAL = Check(
    "no_delivery_waits_for_approval", "No newer delivery is held back or still arriving.", _DELIVERY,
    blocks=True, gravest="ERROR", mend="cops approve ID --reason '…'",
)
DELIVERY_WITHIN_48H = Check(
    "delivery_within_48h", "An open month was delivered within the last 48 hours.", _DELIVERY,
    look="cops sql @latest_partition", mend="cops period mark-delayed {P} --reason '…'", levels=("P3", "P3"),
)
ROWS_NOT_FALLING = Check(
    "rows_not_falling", "As many rows as the delivery before, in all and per usage day.", _DELIVERY,
    look="cops sql @expected_vs_ingested --param period_start={P}",
    mend="ask AWS whether the report is whole, then: cops materialize {P}",
)
FOLDER_HOLDS_ONLY_NAMED_FILES = Check(
    "folder_holds_only_named_files", "No data file lies there that the manifest does not name.", _DELIVERY,
)
FILES_DIFFER = Check("files_differ", "No two files of a delivery have the same bytes.", _DELIVERY)
NO_COLUMNS_REMOVED = Check(
    "no_columns_removed", "Every column of the delivery before is still there.", _DELIVERY,
)
LINE_TYPES_ARE_KNOWN = Check("line_types_are_known", "Every line item type has known cost views.", _DELIVERY)
USAGE_LIES_IN_PERIOD = Check("usage_lies_in_period", "Every usage line lies in its billing month.", _DELIVERY)
USAGE_IS_NOT_NEGATIVE = Check("usage_is_not_negative", "No usage line has a negative cost.", _DELIVERY)
LINES_ARE_DISTINCT = Check("lines_are_distinct", "No line stands in the delivery twice.", _DELIVERY)
EVERY_VALUE_IS_CARRIED = Check(
    "every_value_is_carried", "No value that no cost view needs was rounded or lost.", _DELIVERY,
)
EACH_PAYER_HAS_ONE_SOURCE = Check(
    "each_payer_has_one_source", "No payer's usage account and month comes from two sources.", _DELIVERY,
    blocks=True, gravest="ERROR", look="cops source list",
    mend="choose one: cops source retire NAME --reason '…'; cops materialize {P}",
)
EVERY_SOURCE_IS_TAKEN = Check(
    "every_source_is_taken", "Every source's newest delivery was taken, every root reached.", _DELIVERY,
    gravest="ERROR", look="cops source list",
    mend="mend or wait, or: cops source retire NAME --reason '…'; cops materialize {P}",
)
EVERY_SOURCE_HAS_ITS_PLACE = Check(
    "every_source_has_its_place", "What is booked still lies in a report root.", _DELIVERY,
    look="cops source list", mend="name its root in COPS_CUR again, or: cops source retire NAME --reason '…'",
)
NO_FOREIGN_EXPORTS = Check(
    "no_foreign_exports", "Nothing but Cost and Usage Reports lies in the report roots.", _DELIVERY,
    look="cops source list", mend="nothing: it is left alone; or move it elsewhere",
)
NO_UNEXPECTED_COLUMNS = Check(
    "no_unexpected_columns", "AWS added no column that neither schema nor dictionary knows.", _DELIVERY,
    look="cops sql @schema_diff", mend="nothing: new columns are kept, nullable, and listed",
    headline="unexpected_columns",
)
ROWS_MATCH_DELIVERY = Check(
    "rows_match_delivery", "Delivered rows = accepted + quarantined.", _LINES, blocks=True, gravest="ERROR",
    levels=("P1", "P1"),
)
COST_MATCHES_DELIVERY = Check(
    "cost_matches_delivery", "Delivered cost = accepted + quarantined, to the last digit.", _LINES,
    blocks=True, gravest="ERROR", levels=("P1", "P1"),
)
EVERY_DELIVERY_IS_INGESTED = Check(
    "every_delivery_is_ingested", "What is shown of each source is what is ingested of it.", _LINES,
    gravest="ERROR", look="cops runs {P}", mend="cops materialize {P}",
)
COST_VIEWS_BRIDGE = Check(
    "cost_views_bridge", "unblended = amortized + true-up + upfront, gross and net.", _LINES, gravest="ERROR",
)
COMMITMENTS_ARE_DELIVERED_WHOLE = Check(
    "commitments_are_delivered_whole", "Commitments came with their fee and their usage.", _LINES,
    look="cops sql -q 'SELECT DISTINCT line_item_usage_account_id, bill_payer_account_id FROM fact_cost_raw'",
    mend="nothing in a member account's own report; else wait for AWS, then: cops materialize {P}",
)
MAPPED_TAGS_ARE_DELIVERED = Check(
    "mapped_tags_are_delivered", "The tags that [tags] maps stand in the deliveries.", _LINES, blocks=True,
    gravest="ERROR", look="cops sql @schema_diff",
    mend="correct tenant_id in [tags] (the near name), then: cops materialize {P}", whose=OF_TAGGING,
)
NO_LINES_QUARANTINED = Check(
    "no_lines_quarantined", "No line is set aside; while one is, the month cannot close.", "cur_quarantine",
    look="cops sql -q 'SELECT * FROM cur_quarantine'", mend="AWS must deliver these lines again",
)
# fmt: on


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
        ROWS_NOT_FALLING,
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
        FOLDER_HOLDS_ONLY_NAMED_FILES,
        not strays,
        "WARN",
        {"stray_files": len(strays), "names": ", ".join(map(repr, strays[:20]))},
    )


def _files_differ(shown: Sequence[Profile]) -> Verdict:
    same = sum(new.same_bytes for new in shown)
    return Verdict(FILES_DIFFER, same == 0, "WARN", {"files_with_bytes_of_another": same})


def _no_columns_removed(shown: Sequence[Profile], before: Sequence[Profile | None]) -> Verdict:
    removed = sorted(
        {name for new, old in zip(shown, before, strict=True) if old for name in old.columns - new.columns}
    )
    return Verdict(NO_COLUMNS_REMOVED, not removed, "WARN", {"removed_columns": ", ".join(removed)})


def _known_line_types(shown: Sequence[Profile], known: frozenset[str]) -> Verdict:
    unknown = [
        {"line_type": name or "(empty)", "rows": rows, "usd": cost}
        for new in shown
        for name, (rows, cost) in sorted(new.line_types.items())
        if name not in known
    ]
    return Verdict(LINE_TYPES_ARE_KNOWN, not unknown, "WARN", {"unknown_types": unknown[:20]})


def _usage_in_period(shown: Sequence[Profile]) -> Verdict:
    outside = sum(new.outside_rows for new in shown)
    return Verdict(USAGE_LIES_IN_PERIOD, outside == 0, "WARN", {"rows_outside": outside})


def _no_negative_usage(shown: Sequence[Profile]) -> Verdict:
    rows = sum(new.negative_usage_rows for new in shown)
    return Verdict(
        USAGE_IS_NOT_NEGATIVE,
        rows == 0,
        "WARN",
        {"negative_rows": rows, "negative_usd": sum((new.negative_usage_usd for new in shown), Decimal(0))},
    )


def _lines_distinct(shown: Sequence[Profile]) -> Verdict:
    rows = sum(new.repeated_rows for new in shown)
    return Verdict(
        LINES_ARE_DISTINCT,
        rows == 0,
        "WARN",
        {"repeated_rows": rows, "repeated_usd": sum((new.repeated_usd for new in shown), Decimal(0))},
    )


def _values_carried(shown: Sequence[Profile]) -> Verdict:
    lost = sum(new.lost_rows for new in shown)
    return Verdict(EVERY_VALUE_IS_CARRIED, lost == 0, "WARN", {"rows_with_a_value_not_carried": lost})


def refused(check: Check, refusals: Sequence[CopsError], severity: Severity) -> Verdict:
    """No source is refused for what a check is about; the first refusal stands in the figures."""
    if not refusals:
        return Verdict(check, True, "ERROR", {"refused_deliveries": 0})
    figures: dict[str, Figure] = {"refused_deliveries": len(refusals), **refusals[0].as_figures()}
    return Verdict(check, False, severity, figures)


def delivery_within_48h(delivered_at: datetime | None, *, is_open: bool, is_recent: bool) -> Verdict:
    """An open month is delivered every day; an ended one is not any more, so only an open one can be late."""
    return Verdict(
        DELIVERY_WITHIN_48H,
        is_recent or not is_open,
        "WARN",
        {"delivered_at_utc": f"{delivered_at:%Y-%m-%d %H:%M}" if delivered_at else "never"},
    )


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
        EACH_PAYER_HAS_ONE_SOURCE,
        not booked and not held,
        "ERROR" if booked and not sealed else "WARN",
        {"booked_twice": twice, "held_sources": ", ".join(held)},
    )


def every_source_is_taken(refused: Sequence[Mapping[str, object]]) -> Verdict:
    """The newest delivery of every source could be taken, and every report root reached.

    Args:
        refused: source, code, what was found and what to do, of those that could not.
    """
    return Verdict(
        EVERY_SOURCE_IS_TAKEN,
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
    return Verdict(EVERY_DELIVERY_IS_INGESTED, not rows, "ERROR", {"not_ingested": rows[:20]})


def every_source_has_its_place(placeless: Sequence[tuple[str, str]]) -> Verdict:
    """What is booked still lies in a report root; a source that does not stays booked until it is retired.

    Args:
        placeless: source, and where it was booked from.
    """
    rows: list[Mapping[str, object]] = [
        {"source_id": name, "booked_from": place} for name, place in placeless
    ]
    return Verdict(EVERY_SOURCE_HAS_ITS_PLACE, not rows, "WARN", {"without_a_place": rows[:20]})


def no_foreign_exports(found: Sequence[tuple[str, str]]) -> Verdict:
    """Nothing but Cost and Usage Reports lies in the report roots; what else does is left alone.

    Args:
        found: place of the export below its root, and what it is.
    """
    rows: list[Mapping[str, object]] = [{"export": name, "kind": kind} for name, kind in found]
    return Verdict(NO_FOREIGN_EXPORTS, not rows, "WARN", {"foreign_exports": rows[:20]})


def no_lines_quarantined(faults: Mapping[str, tuple[int, Decimal]]) -> Verdict:
    """No line is set aside; while one is, the month reconciles provisionally and cannot close."""
    return Verdict(
        NO_LINES_QUARANTINED,
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


def rows_match_delivery(delivered: int, accepted: int, quarantined: int) -> Verdict:
    """Every delivered line is accepted or quarantined."""
    return Verdict(
        ROWS_MATCH_DELIVERY,
        delivered == accepted + quarantined,
        "ERROR",
        {"delivered_rows": delivered, "accepted_rows": accepted, "quarantined_rows": quarantined},
    )


def cost_matches_delivery(delivered: Decimal, accepted: Decimal, quarantined: Decimal) -> Verdict:
    """Delivered unblended cost = accepted + quarantined, difference exactly 0."""
    return equal(
        COST_MATCHES_DELIVERY,
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
        COST_VIEWS_BRIDGE,
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


def no_unexpected_columns(unexpected: Sequence[str], revision: int, *, no_news: int = 0) -> Verdict:
    """The delivery has no column that is news; of many the first are named, `@schema_diff` has them all.

    Args:
        no_news: further columns that the schema does not know and AWS's dictionary does.
    """
    left = len(unexpected) - _COLUMNS_NAMED
    named = ", ".join(unexpected[:_COLUMNS_NAMED]) + (f" and {left} more" if left > 0 else "")
    figures: dict[str, Figure] = {"unexpected_columns": named, "schema_revision": revision}
    if no_news:
        figures["beyond_the_schema"] = f"{no_news} columns, all known to AWS's dictionary"
    return Verdict(NO_UNEXPECTED_COLUMNS, not unexpected, "WARN", figures)


_COLUMNS_NAMED = 3
