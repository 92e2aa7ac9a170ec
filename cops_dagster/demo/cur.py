"""One month of legacy CUR in Parquet, made by DuckDB from integer formulas of the line number.

Belongs here: lines, files, and the month's exact totals. Nothing is random and nothing depends on
thread count or line order: line i of a month is a pure function of (month, number of lines, i). Does
not belong here: what the lines say (`demo/profile.py`, `demo/bill.py`, `demo/columns.py`).

Usage lines go hour by hour through a group of G resources, then through the next group. G is a multiple
of the number of profiles P, so line i has profile i mod P, and the lines of a profile can be counted
without looking.
"""

from __future__ import annotations

import calendar
import dataclasses
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cops_dagster.demo import bill, catalogue, columns, manifest, profile
from cops_dagster.demo.bill import BillLine
from cops_dagster.demo.line import BILL_TYPES, Invoice, Line
from cops_dagster.demo.profile import Profile
from cops_dagster.demo.totals import AwsInvoice, MonthTotals
from cops_dagster.errors import CopsError
from cops_dagster.period import Period

if TYPE_CHECKING:
    import duckdb

DELIVERED_AFTER_DAYS = 9
"""The last delivery of a demo month comes on the 10th of the next, after the support fees."""
Layout = Literal["create_new_version", "overwrite"]

LINES_MIN = 1_000
_LINES_PER_FILE = 2_500_000
_GROUP_MAX = 80
"""Most resources of one profile in a group. With more than 15,000 resources in turn, as a month of 100
million lines would have, none came twice in a row group and a line took 94 bytes instead of 37."""

_MEMORY = "1536MB"
_OPEN_FROM = Period(2025, 9)
"""Months from here on are not final: no line carries an invoice id yet."""

_LINE_FIELDS = tuple(field.name for field in dataclasses.fields(Line) if field.name != "invoice")
_BILL_AMOUNTS = tuple(
    field.name for field in dataclasses.fields(BillLine) if field.name not in ("line", "start", "end")
)
_INVOICE_DIGIT: dict[Invoice, int] = {"anniversary": 1, "marketplace": 2, "purchase": 3, "refund": 4}


def write_month(
    root: Path,
    period: Period,
    *,
    lines: int,
    layout: Layout = "create_new_version",
    files: int | None = None,
) -> MonthTotals:
    """Writes one month of `lines` lines under `root`, the manifest last.

    The month costs 50,000–60,000 USD whatever `lines` is. Needs less than 2 GiB of memory.

    Args:
        root: the report root; files go to `root/cops-demo/<range>/[<assemblyId>/]`.
        files: number of Parquet files; by default one for each 2.5 million lines.

    Raises:
        CopsError: `E-DEMO-LINES` for fewer than 1,000 lines.
    """
    import duckdb

    if lines < LINES_MIN:
        raise CopsError(
            "E-DEMO-LINES",
            f"demo month {period}",
            expected=f"at least {LINES_MIN} lines, so that every kind of line occurs",
            found=str(lines),
            next_step="ask for more lines",
        )
    with duckdb.connect(":memory:", config={"memory_limit": _MEMORY, "threads": 2}) as con:
        con.execute("SET preserve_insertion_order = false")  # lines have no order to keep
        month = _plan(con, period, lines)
        _write_files(con, month, root, layout, files or -(-lines // _LINES_PER_FILE))
    return _totals(month)


def invoice_id(period: Period, invoice: Invoice) -> str:
    """The AWS invoice a line stands on; '' while the month is not final."""
    if period >= _OPEN_FROM:
        return ""
    return f"1{period.year % 100:02d}{period.month:02d}000{_INVOICE_DIGIT[invoice]}"


# --- the plan of a month: profiles, lines per profile, month-level lines -------------------------------


@dataclass(frozen=True)
class _Used:
    """Σ over the lines of one profile, 1e-10 USD."""

    unblended: int = 0
    positive: int = 0
    plan_effective: int = 0
    reservation_effective: int = 0


@dataclass(frozen=True)
class _Month:
    period: Period
    lines: int
    usage_lines: int
    profiles: list[Profile]
    used: list[_Used]
    bills: list[BillLine]


def _plan(con: duckdb.DuckDBPyConnection, period: Period, lines: int) -> _Month:
    profiles = profile.of_month(period)
    bills = len(bill.of_month(period, dict.fromkeys(catalogue.RESERVATIONS.values(), 0), 0))
    usage_lines = lines - bills
    # a month must not end between a covered line and its negation
    rest = usage_lines % len(profiles)
    is_filled = rest < profile.paired(profiles) and rest % 2 == 1
    usage_lines -= is_filled
    _create_usage(con, period, profiles, usage_lines)
    used = _measure(con, len(profiles), usage_lines)
    reserved: dict[str, int] = defaultdict(int)
    for one, sums in zip(profiles, used, strict=True):
        if one.reservation_pct is not None:
            reserved[one.line.reservation_arn] += sums.reservation_effective
    month_level = bill.of_month(period, reserved, sum(sums.plan_effective for sums in used))
    if is_filled:
        month_level.append(bill.filler(period))
    _create_bill(con, period, month_level)
    return _Month(period, lines, usage_lines, profiles, used, month_level)


def _create_usage(
    con: duckdb.DuckDBPyConnection, period: Period, profiles: Sequence[Profile], usage_lines: int
) -> None:
    count = len(profiles)
    hours = 24 * calendar.monthrange(period.year, period.month)[1]
    group = count * min(-(-usage_lines // (count * hours)), _GROUP_MAX)
    resources = group * -(-usage_lines // (group * hours))
    blocks = -(-usage_lines // resources)
    rows = []
    for number, one in enumerate(profiles):
        own = usage_lines // count + (number < usage_lines % count)
        # a line costs step × f, f from 400 to 1000 and 700 on average
        step = max(1, one.budget // (700 * max(1, own)))
        rate = Decimal(step * 1000 // one.quantity).scaleb(-10)
        rows.append(
            _described(one.line, period)
            | {
                "number": number,
                "pair": int(one.unblended_sign < 0),
                "step": step,
                "sign": one.unblended_sign,
                "quantity": one.quantity,
                "normalization": one.normalization,
                "plan_pct": one.savings_plan_pct,
                "reservation_pct": one.reservation_pct,
                "recurring_pct": one.recurring_pct,
                "prefix": one.prefix,
                "rate": f"{rate:.10f}",
            }
        )
    _create(con, "profile", rows)
    month = f"{period}-"
    # ids are digests, as high in cardinality as AWS's own; a real line id also stands on many lines
    con.execute(
        "CREATE TEMP TABLE resource AS SELECT k, p.*, "
        f"substr(md5('line {month}' || k) || md5('item {month}' || k), 1, 52) AS line_id, "
        "CASE WHEN p.prefix = '' THEN '' ELSE p.prefix || "
        "  substr(md5('resource ' || (k - p.pair)), 1, 17) END AS resource_id "
        f"FROM range({resources}) AS r(k) JOIN profile AS p ON p.number = k % {count}"
    )
    con.execute(
        "CREATE TEMP TABLE hour AS SELECT CAST(h AS INTEGER) AS hour, "
        "usage_start, usage_start + INTERVAL 1 HOUR AS usage_end, "
        "strftime(usage_start, '%Y-%m-%dT%H:00:00Z/') || "
        "  strftime(usage_start + INTERVAL 1 HOUR, '%Y-%m-%dT%H:00:00Z') AS time_interval "
        f"FROM (SELECT h, TIMESTAMP '{period.start} 00:00:00' + h * INTERVAL 1 HOUR AS usage_start "
        f"      FROM range({hours}) AS r(h))"
    )
    # f: two modular products (both below 2**62), the second quadratic so that neighbours differ. The
    # halves of a pair share f and the hour. Each resource has a line in one hour at most once.
    con.execute(
        "CREATE TEMP MACRO usage_line(first, last) AS TABLE "
        "WITH numbered AS ("
        f"  SELECT i, i // {group * blocks} * {group} + i % {group} AS k, "
        f"    i % {group * blocks} // {group} AS block "
        "  FROM range(first, last) AS r(i)"
        "), keyed AS ("
        "  SELECT n.*, r.* EXCLUDE (k), "
        f"    CAST((block * {hours} // {blocks} + (n.k - r.pair) * 37) % {hours} AS INTEGER) AS hour, "
        f"    ((i - r.pair + {period.year * 12 + period.month}) * 48271) % 2147483647 AS seed "
        "  FROM numbered AS n JOIN resource AS r ON r.k = n.k"
        "), priced AS ("
        "  SELECT *, 400 + (seed * (seed + 7919)) % 2147483647 % 601 AS f, step * f AS price FROM keyed"
        ") "
        "SELECT q.* EXCLUDE (hour), h.* EXCLUDE (hour), f * quantity AS usage_milli, "
        "  price * sign AS unblended, CASE WHEN sign >= 0 THEN price END AS on_demand, "
        "  price * plan_pct // 100 AS plan_effective, "
        "  price * reservation_pct // 100 AS reservation_effective, "
        "  price * recurring_pct // 100 AS reservation_recurring, "
        "  NULL::BIGINT AS reservation_upfront, NULL::BIGINT AS reservation_unused_upfront, "
        "  NULL::BIGINT AS reservation_unused_recurring, NULL::BIGINT AS plan_total, "
        "  NULL::BIGINT AS plan_used, NULL::BIGINT AS plan_upfront, NULL::BIGINT AS plan_recurring "
        "FROM priced AS q JOIN hour AS h ON h.hour = q.hour"
    )


def _measure(con: duckdb.DuckDBPyConnection, count: int, usage_lines: int) -> list[_Used]:
    """Sums of the integers by profile: what the totals rest on, apart from anything written."""
    found = [_Used()] * count
    for number, *sums in con.execute(
        "SELECT number, SUM(unblended), SUM(CASE WHEN unblended > 0 THEN unblended ELSE 0 END), "
        "COALESCE(SUM(plan_effective), 0), COALESCE(SUM(reservation_effective), 0) "
        f"FROM usage_line(0, {usage_lines}) GROUP BY number"
    ).fetchall():
        found[number] = _Used(*(int(value) for value in sums))
    return found


def _create_bill(con: duckdb.DuckDBPyConnection, period: Period, bills: Sequence[BillLine]) -> None:
    rows = []
    for number, one in enumerate(bills):
        digest = hashlib.sha256(f"{period} {number}".encode()).hexdigest()
        rows.append(
            _described(one.line, period)
            | {name: getattr(one, name) for name in _BILL_AMOUNTS}
            | {
                "line_id": digest[:52],
                "time_interval": f"{period.start}T00:00:00Z/{period.end}T00:00:00Z",
                "usage_start": one.start,
                "usage_end": one.end,
                "resource_id": "",
                "usage_milli": 1000,
                "normalization": None,
                "rate": "",
                "on_demand": None,
                "plan_effective": None,
                "reservation_effective": None,
                "reservation_recurring": None,
            }
        )
    _create(con, "bill_line", rows)


def _described(line: Line, period: Period) -> dict[str, Any]:
    return {name: getattr(line, name) for name in _LINE_FIELDS} | {
        "invoice_id": invoice_id(period, line.invoice),
        "billing_entity": line.billing_entity,
        "bill_type": BILL_TYPES[line.invoice],
    }


_INTEGERS = {
    "number", "pair", "step", "sign", "quantity", "normalization", "plan_pct", "reservation_pct",
    "recurring_pct", "usage_milli", "on_demand", "plan_effective", "reservation_effective",
    "reservation_recurring", *_BILL_AMOUNTS,
}  # fmt: skip
_TIMES = {"usage_start", "usage_end"}


def _create(con: duckdb.DuckDBPyConnection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    types = {
        name: "BIGINT" if name in _INTEGERS else "TIMESTAMP" if name in _TIMES else "VARCHAR"
        for name in rows[0]
    }
    con.execute(f"CREATE TEMP TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in types.items())})")
    # one statement with a list a column: an INSERT a row takes 0.7 s for 200 rows
    lists = ", ".join(f"unnest(CAST(${name} AS {kind}[]))" for name, kind in types.items())
    con.execute(f"INSERT INTO {table} SELECT {lists}", {name: [row[name] for row in rows] for name in types})


# --- files -----------------------------------------------------------------------------------------------


def _write_files(
    con: duckdb.DuckDBPyConnection, month: _Month, root: Path, layout: Layout, files: int
) -> None:
    period = month.period
    folder = root / catalogue.REPORT / manifest.billing_range(period)
    assembly_id = _assembly_id(month)
    place = folder / assembly_id if layout == "create_new_version" else folder
    place.mkdir(parents=True, exist_ok=True)
    chosen = columns.of_month(period)
    made = ", ".join(f"{sql} AS {name}" for name, sql in chosen)
    constants = (
        f"'{catalogue.PAYER}' AS payer, TIMESTAMP '{period.start} 00:00:00' AS month_start, "
        f"TIMESTAMP '{period.end} 00:00:00' AS month_end"
    )
    keys, written = [], []
    for number in range(files):
        name = f"{catalogue.REPORT}-{number + 1:05d}.snappy.parquet"
        first, last = (month.usage_lines * edge // files for edge in (number, number + 1))
        source = f"SELECT *, {constants} FROM usage_line({first}, {last})"
        if number == files - 1:
            source += f" UNION ALL BY NAME SELECT *, {constants} FROM bill_line"
        target = str(place / name).replace("'", "''")
        options = "FORMAT parquet, COMPRESSION snappy"
        con.execute(f"COPY (SELECT {made} FROM ({source})) TO '{target}' ({options})")
        written.append(place / name)
        keys.append("/".join((*place.relative_to(root).parts, name)))
    body = manifest.text(period, assembly_id, keys, [name for name, _ in chosen])
    for target_folder in dict.fromkeys((place, folder)):  # the pointer to the newest assembly comes last
        written.append(target_folder / f"{catalogue.REPORT}-Manifest.json")
        written[-1].write_text(body, encoding="utf-8")
    # delivered when AWS would have, also when it is written again: nothing changed then
    moment = datetime.combine(period.end, time(3), UTC) + timedelta(days=DELIVERED_AFTER_DAYS)
    for path in written:
        os.utime(path, (moment.timestamp(), moment.timestamp()))


def _assembly_id(month: _Month) -> str:
    digest = hashlib.sha256(f"cops-demo {month.period} {month.lines}".encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


# --- totals ----------------------------------------------------------------------------------------------


def _totals(month: _Month) -> MonthTotals:
    unblended: dict[tuple[str, str], int] = defaultdict(int)
    amortized: dict[tuple[str, str], int] = defaultdict(int)
    direct: dict[tuple[str, str, str], int] = defaultdict(int)
    pools: dict[tuple[str, str], int] = defaultdict(int)
    before_tax: dict[tuple[str, str, str], int] = defaultdict(int)
    tax: dict[tuple[str, str, str], int] = defaultdict(int)
    covered = coverable = 0

    def add(line: Line, cost: int, effective: int, positive: int, tenant: str | None) -> None:
        nonlocal covered, coverable
        key = (line.service, line.charge_class)
        unblended[key] += cost
        amortized[key] += effective
        if tenant is None:
            pools[key] += cost
        else:
            direct[(tenant, *key)] += cost
        if line.charge_class == "usage":
            coverable += positive
            covered += positive if line.is_covered else 0
        bill_key = (invoice_id(month.period, line.invoice), line.billing_entity, BILL_TYPES[line.invoice])
        (tax if line.line_type == "Tax" else before_tax)[bill_key] += cost

    tenant = None
    for one, sums in zip(month.profiles, month.used, strict=True):
        if one.line.line_type != "SavingsPlanNegation":  # it follows the profile that it takes back
            tenant = one.line.tenant
        effective = {
            "SavingsPlanCoveredUsage": sums.plan_effective,
            "SavingsPlanNegation": 0,
            "DiscountedUsage": sums.reservation_effective,
        }.get(one.line.line_type, sums.unblended)
        add(one.line, sums.unblended, effective, sums.positive, tenant)
    for row in month.bills:
        add(row.line, row.unblended, row.amortized, max(row.unblended, 0), row.line.tenant)
    invoices = {
        key[0]: AwsInvoice(key[1], key[2], _usd(before_tax[key]), _usd(tax.get(key, 0)))
        for key in sorted(before_tax)
        if key[0]
    }
    return MonthTotals(
        period=month.period,
        rows=month.usage_lines + len(month.bills),
        unblended=_usd(sum(unblended.values())),
        amortized=_usd(sum(amortized.values())),
        net_amortized=_usd(sum(amortized.values())),  # no discounts, so no net columns: net is gross
        true_up=_usd(sum(row.true_up for row in month.bills)),
        upfront=_usd(sum(row.upfront for row in month.bills)),
        by_service_class={key: _usd(cost) for key, cost in sorted(unblended.items())},
        amortized_by_service_class={key: _usd(cost) for key, cost in sorted(amortized.items())},
        direct={key: _usd(cost) for key, cost in sorted(direct.items())},
        pools={key: _usd(cost) for key, cost in sorted(pools.items())},
        covered=_usd(covered),
        coverable=_usd(coverable),
        invoices=invoices,
    )


def _usd(units: int) -> Decimal:
    return Decimal(units).scaleb(-10)  # at most 16 digits, far below the 28 of the default context
