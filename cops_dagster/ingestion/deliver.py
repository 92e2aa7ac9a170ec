"""Files that came without a manifest become a delivery: `cops deliver`.

Belongs here: copying them below the home and writing their manifest, last. Does not belong here: taking
the delivery (`ingestion/look.py`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from sqlglot import exp

from cops_dagster.cur import formats
from cops_dagster.cur.schema import Sent
from cops_dagster.errors import CopsError
from cops_dagster.evidence.adoption import require_policy
from cops_dagster.ingestion.first_sight import header_columns, require
from cops_dagster.lake import shapes
from cops_dagster.lake.convert import BILLING_PERIOD, billing_days
from cops_dagster.lake.engine import Engine
from cops_dagster.lake.footers import parquet, survey
from cops_dagster.ledger.books import Books
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.stores import files

MANUAL_SOURCE = "manual"
"""Source of deliveries made by `cops deliver`, unless another is named."""

_COMPRESSION = {"parquet": "Parquet", "csv.gz": "GZIP", "csv.zip": "ZIP", "csv": "CSV"}


def require_name(source_id: str) -> None:
    """Refuses a name that is no plain name of a folder.

    Raises:
        CopsError: `E-PARAM`.
    """
    if not source_id.replace("-", "").replace("_", "").isalnum() or not source_id.isascii():
        raise CopsError(
            "E-PARAM",
            f"source {source_id!r}",
            expected="letters, digits, - and _",
            found=repr(source_id),
            next_step="name the source with those",
        )


def deliver(books: Books, paths: list[Path], period: Period, *, source_id: str = MANUAL_SOURCE) -> Path:
    """Makes a delivery of files that came without a manifest; the manifest's path.

    The files are copied below the home (they are nobody else's to keep), then the manifest is
    written, last: a crash in between leaves no delivery. The same files again are the same delivery.

    Raises:
        CopsError: as `require_name`; `E-FILE` for what is no regular file, `E-CHUNK-DUP`, `E-FORMAT`,
            `E-SCHEMA-MISSING`, `E-MANIFEST-SCOPE` for lines of another month (of CSV the first lines are
            looked at); what else the lines hold is judged when the period is materialised.
    """
    require_name(source_id)
    require_policy(books)
    for path in paths:
        if not path.is_file() or path.is_symlink():
            raise CopsError(
                "E-FILE",
                f"file {path}",
                expected="a regular file",
                found="none",
                next_step="name the CUR files of one month",
            )
    names = [path.name for path in paths]
    if len(set(names)) != len(names):
        raise CopsError(
            "E-CHUNK-DUP",
            f"period {period}",
            expected="every file once",
            found=f"{len(names) - len(set(names))} names twice",
            next_step="name each file once",
        )
    subject = f"delivery {source_id} {period}"
    kind = _format(paths, subject)
    _check_lines(books, paths, kind, period, subject)
    digests = files.sha256_all(paths)
    assembly = digest(str(period), list(zip(names, digests, strict=True)))[:32]
    folder = books.settings.deliveries_root / source_id / f"{_day(period)}-{_day(period.next())}"
    _copy_in(paths, folder / assembly)
    manifest = {
        "assemblyId": assembly,
        "account": "",
        "reportName": source_id,
        "compression": _COMPRESSION[kind],
        "contentType": "Parquet" if kind == "parquet" else "text/csv",
        "billingPeriod": {
            "start": f"{_day(period)}T000000.000Z",
            "end": f"{_day(period.next())}T000000.000Z",
        },
        "reportKeys": [f"{source_id}/{assembly}/{name}" for name in names],
    }
    target = folder / f"{source_id}-Manifest.json"
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.replace(target)
    return target


def _format(paths: list[Path], subject: str) -> formats.Format:
    kinds = set()
    for path in paths:
        with path.open("rb") as stream:
            head = stream.read(formats.HEAD_BYTES)
        kinds.add(formats.check(head, path.stat().st_size, path.name, "", subject=subject))
    if len(kinds) != 1:
        raise CopsError(
            "E-FORMAT",
            subject,
            expected="files of one format",
            found=", ".join(sorted(kinds)),
            next_step="deliver files of one format at a time",
        )
    return kinds.pop()


def _check_lines(books: Books, paths: list[Path], kind: formats.Format, period: Period, subject: str) -> None:
    """Refuses at once what no ledger can be made of, while the person who hands it over is there."""
    if kind == "parquet":
        with books.reader(subject, paths, books.settings.converted_root) as engine:
            agreed = shapes.agree(engine, survey(engine, paths, subject), subject)
            columns = {name: Sent(sent, ((name, None),)) for name, sent in agreed.kinds.items()}
            require(columns, subject)
            days = _billing_days(engine, paths, agreed.kinds)
    else:
        columns = header_columns(paths, kind, subject=subject)
        require(columns, subject)
        days = {day for path in paths for day in billing_days(path, kind, subject=subject)}
    _check_period({Period.parse(day[:7]) for day in days}, period, subject)


def _billing_days(engine: Engine, paths: list[Path], names: Iterable[str]) -> set[str]:
    """First days of the billing months that Parquet lines name, `YYYY-MM-DD`; one column is read."""
    named = [name for name in names if name.lower() == BILLING_PERIOD]
    if not named:
        return set()
    column = exp.column(named[0], quoted=True)
    day = exp.func("LEFT", exp.cast(column, "VARCHAR"), exp.Literal.number(10))
    query = exp.select(day).distinct().from_(parquet(paths, by_name=True))
    days = {str(found) for (found,) in engine.fetch(query.limit(13)).rows if found is not None}
    return {day for day in days if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-01", day, re.ASCII)}


def _check_period(found: set[Period], period: Period, subject: str) -> None:
    others = sorted(found - {period})
    if not others:
        return
    told = ", ".join(str(one) for one in sorted(found))
    raise CopsError(
        "E-MANIFEST-SCOPE",
        subject,
        expected=f"lines of {period}, as --period says",
        found=f"lines of billing period {told}",
        next_step=f"hand them over as what they are: --period {others[0]}"
        if len(found) == 1
        else "hand over the files of each month by themselves",
    )


def _copy_in(paths: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        target = folder / path.name
        if not target.exists() or files.sha256(target) != files.sha256(path):
            partial = folder / f".{path.name}.partial"
            shutil.copyfile(path, partial)
            partial.replace(target)


def _day(period: Period) -> str:
    return f"{period.start:%Y%m%d}"
