"""Measures a month beside the floor and its peers, each part in a fresh process. By hand, never in a test.

    python benchmarks/run.py --lines 10000000 --wild --small --retag --statements --repeat 3 --work FOLDER

Prints Markdown: one table for each month, and where the CPU seconds of `cops materialize` went.

Imports nothing heavy itself: on Linux a child's peak memory starts from what its parent held.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
REPORT = "cops-demo"
COPS = (sys.executable, "-m", "cops_dagster.cli.start")
CONTROL_FAILED = 1  # exit code of cops when a check does not hold: the month is there all the same
PARTS = ("floor", "pandas", "polars", "dbt", "cops")
PEERS = {
    # floats: the sum of a month is right to about nine digits
    "pandas": ("pandas, Arrow types", "pandas_month.py", "0.01"),
    "polars": ("Polars, streaming", "polars_month.py", "0.01"),
    "dbt": ("dbt-duckdb, the floor's SQL", "dbt_month.py", "0"),
}
SMALL = 20_000
AGAIN: dict[str, dict[str, str]] = {
    "an alias changed": {
        "tag_aliases.csv": "tag_name,alias,canonical\ntenant_id,bench-{n},{tenant}\n",
    },
    "an account mapped": {
        "account_tenants.csv": "usage_account_id,effective_from,effective_to,tenant_id\n"
        "99999999999{n},2025-01-01,,{tenant}\n",
    },
    "a rule changed": {
        "allocation_rules.csv": "rule_id,version,effective_from,priority,match_service,match_charge_class,"
        "method,on_zero_key,approved_by\nbench-{n},1,2025-01-01,{n},AmazonRDS,usage,even,hold,bench\n",
    },
    "a chain of three": {
        "allocation_rules.csv": "rule_id,version,effective_from,priority,match_service,match_charge_class,"
        "method,shares,on_zero_key,approved_by\n"
        'chain-a,1,2025-01-01,1,AWSDataTransfer,usage,fixed,"{{""service:AmazonEKS"": ""100""}}",hold,bench\n'
        "chain-b,1,2025-01-01,2,AmazonEKS,usage,fixed,"
        '"{{""service:AmazonS3"": ""40"", ""rule:clusters"": ""60""}}",hold,bench\n',
    },
}
"""What people change between two runs of a month: files to load."""


@dataclass(frozen=True)
class Measured:
    """One process with its children: wall and CPU seconds, peak resident MiB of the largest, what it printed.

    `disk_mib` is what it left behind, hard links counted once.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_mib: float
    printed: str
    is_month: bool
    disk_mib: float = 0


def measure(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    is_month: bool = False,
    accepted: Sequence[int] = (0,),
) -> Measured:
    """Runs a command to its end; output goes to `log`, since a pipe would have to be drained."""
    print(f"… {name}", file=sys.stderr)
    given = {**os.environ, **(env or {})}
    given.pop("PYTHONDONTWRITEBYTECODE", None)  # it would compile every module anew in every process
    with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, cwd=REPOSITORY, env=given)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in accepted:
        tail = log.with_suffix(".err").read_text(errors="replace")[-2000:]
        raise SystemExit(f"{name}: exit code {child.returncode}\n{tail}")
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(name, seconds, cpu, usage.ru_maxrss / 1024, log.read_text(errors="replace"), is_month)


def size_of(folder: Path) -> float:
    """MiB that a folder takes."""
    found = {(info.st_dev, info.st_ino): info.st_size for info in map(Path.lstat, folder.rglob("*"))}
    return sum(found.values()) / 2**20


def prepare(work: Path, lines: int, period: str) -> Path:
    """The generated month, made once for each number of lines and period."""
    data = work / f"data-{period}-{lines}"
    if not (data / "expected.json").exists():
        print(f"… generating {lines:,} lines of {period}", file=sys.stderr)
        shutil.rmtree(data, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "cops_dagster.demo", str(data), "--lines", str(lines), "--period", period],
            cwd=REPOSITORY,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return data


def warm(data: Path) -> None:
    """Every part finds the files in the page cache."""
    for path in sorted((data / "cur").rglob("*.parquet")):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def check_total(measured: Measured, data: Path, period: str, tolerance: Decimal) -> None:
    """A fast wrong answer is none: rows and cost are those the generator stated."""
    stated = json.loads((data / "expected.json").read_text(encoding="utf-8"))[period]
    found = json.loads(measured.printed)
    off = abs(Decimal(found["unblended_usd"]) - Decimal(stated["unblended_usd"]))
    if found["rows"] != stated["rows"] or off > tolerance:
        raise SystemExit(
            f"{measured.name}: {found} is not {stated['rows']} rows, {stated['unblended_usd']} USD"
        )


def bare(name: str, python: str, script: str, data: Path, work: Path, tolerance: str) -> Measured:
    """The floor or a peer, writing to an empty folder."""
    [month] = sorted((data / "cur" / REPORT).iterdir())
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    measured = measure(
        name, [python, str(HERE / script), str(month), str(out)], log=work / f"{script}.log", is_month=True
    )
    measured = replace(measured, disk_mib=size_of(out))
    shutil.rmtree(out)
    period = f"{month.name[:4]}-{month.name[4:6]}"
    check_total(measured, data, period, Decimal(tolerance))
    return measured


def cops(data: Path, work: Path, period: str, *, retag: bool) -> list[Measured]:
    """COPS from an empty home: the month, the same again, status, help, and what people change."""
    home, log = work / "home", work / "cops.log"
    env = empty_home(data, home, log)
    runs = (
        ("cops materialize", ("materialize", period), True, (0, CONTROL_FAILED)),
        ("the same again, nothing changed", ("materialize", period), False, (0, CONTROL_FAILED)),
        ("cops status", ("status",), False, (0, CONTROL_FAILED)),
        ("cops --help", ("--help",), False, (0,)),
    )
    found = []
    for name, arguments, is_month, accepted in runs:
        one = measure(name, [*COPS, *arguments], log=log, env=env, is_month=is_month, accepted=accepted)
        found.append(replace(one, disk_mib=size_of(home)) if is_month else one)
    check_books(data, period, env, work)
    for name in AGAIN if retag else ():
        change(name, data, work, period, env)
        again = [*COPS, "materialize", period]
        found.append(measure(name, again, log=log, env=env, is_month=True, accepted=(0, CONTROL_FAILED)))
    return found


def empty_home(data: Path, home: Path, log: Path) -> dict[str, str]:
    """A new home with the month's inputs loaded; the environment that names it."""
    shutil.rmtree(home, ignore_errors=True)
    env = {"COPS_HOME": str(home), "COPS_CUR": str(data / "cur")}
    measure("cops admin load", [*COPS, "admin", "load", str(data / "inputs")], log=log, env=env)
    return env


def check_books(data: Path, period: str, env: Mapping[str, str], work: Path) -> None:
    """The allocated month is the generator's, to the last digit."""
    query = "SELECT SUM(r) AS rows, SUM(c) AS unblended_usd FROM (" + " UNION ALL ".join(
        [
            "SELECT COUNT(*) AS r, CAST(0 AS DECIMAL(38, 18)) AS c FROM fact_cost_raw",
            "SELECT 0, SUM(allocated_cost_usd) FROM fact_cost_allocated",
        ]
    )
    asked = [*COPS, "sql", "--format", "json", "-q", f"{query}) AS both_sides"]
    said = measure("cops sql", asked, log=work / "sql.log", env=env)
    (row,) = json.loads(said.printed)
    printed = json.dumps({"rows": int(row["rows"]), "unblended_usd": str(row["unblended_usd"])})
    check_total(replace(said, printed=printed), data, period, Decimal(0))


def change(name: str, data: Path, work: Path, period: str, env: Mapping[str, str]) -> None:
    """Opens the month, which is final, and loads what one of `AGAIN` changes."""
    folder = work / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tenants = (data / "inputs" / "tenants.csv").read_text(encoding="utf-8").splitlines()
    for file, text in AGAIN[name].items():
        given = text.format(n=5, tenant=tenants[1].partition(",")[0])
        (folder / file).write_text(given, encoding="utf-8")
    reopened = ("period", "mark-provisional", period, "--reason", name)
    for command in (reopened, ("admin", "load", str(folder))):
        measure(f"cops {command[0]} {command[1]}", [*COPS, *command], log=work / "cops.log", env=env)


def statements(data: Path, work: Path, period: str) -> str:
    """Where the CPU seconds of `cops materialize` went, in Markdown: one more run, with notes taken."""
    noted, log = work / "statements.jsonl", work / "cops.log"
    noted.unlink(missing_ok=True)
    env = empty_home(data, work / "home", log) | {"BENCH_STATEMENTS": str(noted)}
    driver = [sys.executable, str(HERE / "statements.py"), "materialize", period]
    measure("cops materialize, statements noted", driver, log=log, env=env, accepted=(0, CONTROL_FAILED))
    sums: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    whole = 0.0
    for line in noted.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if one["where"] == "process":
            whole = one["cpu"] + one["children"]
            continue
        for at, value in enumerate((1, one["wall"], one["cpu"])):
            sums[one["where"], one["name"]][at] += value
    rows = sorted(sums.items(), key=lambda item: -item[1][2])
    shown = [(*key, *values) for key, values in rows if values[2] >= 0.01 * whole]
    rest = whole - sum(row[4] for row in shown)
    text = ["| CPU s | wall s | times | process | statement |", "|---:|---:|---:|---|---|"]
    text += [
        f"| {cpu:.2f} | {wall:.2f} | {n:.0f} | {where} | {name} |" for where, name, n, wall, cpu in shown
    ]
    text.append(f"| {rest:.2f} | | | | start, Dagster, database, all smaller ones |")
    text.append(f"| {whole:.2f} | | | | the whole run |")
    return "\n".join(text)


def table(results: Sequence[Measured], lines: int) -> str:
    """The results in Markdown."""
    floor = next((one.seconds for one in results if one.name == "floor"), None)
    text = [
        "| | seconds | × floor | CPU s | peak MiB | disk MiB | lines/s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results:
        times = f"{one.seconds / floor:.2f}" if floor and one.is_month else ""
        rate = f"{lines / one.seconds:,.0f}" if one.is_month else ""
        disk = f"{one.disk_mib:,.0f}" if one.disk_mib else ""
        numbers = f"{one.seconds:.2f} | {times} | {one.cpu_seconds:.1f} | {one.peak_mib:,.0f} | {disk}"
        text.append(f"| {one.name} | {numbers} | {rate} |")
    return "\n".join(text)


def month(title: str, data: Path, chosen: argparse.Namespace, parts: Sequence[str], *, lines: int) -> None:
    """Measures one month and prints its table."""
    warm(data)
    rounds: list[list[Measured]] = []
    for _ in range(chosen.repeat):
        results: list[Measured] = []
        if "floor" in parts:
            results.append(bare("floor", sys.executable, "floor.py", data, chosen.work, "0"))
        for part, (name, script, tolerance) in PEERS.items():
            if part in parts:
                results.append(bare(name, str(chosen.peers), script, data, chosen.work, tolerance))
        if "cops" in parts:
            results += cops(data, chosen.work, chosen.period, retag=chosen.retag)
        rounds.append(results)
    size = sum(path.stat().st_size for path in (data / "cur").rglob("*.parquet"))
    print(f"\n**{title}**: {lines:,} lines of {chosen.period}, {size / 2**20:,.0f} MiB delivered\n")
    print(table([middle(runs) for runs in zip(*rounds, strict=True)], lines))
    if chosen.statements and "cops" in parts:
        print(f"\n{statements(data, chosen.work, chosen.period)}")
    sys.stdout.flush()


def middle(runs: Sequence[Measured]) -> Measured:
    """Of several runs of the same the one in the middle, by wall seconds."""
    return sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]


def wild(data: Path) -> Path:
    """The same month with untidy tags, made once."""
    made = data.with_name(f"{data.name}-wild")
    if not (made / "made").exists():
        print("… making the wild month", file=sys.stderr)
        subprocess.run(
            [sys.executable, str(HERE / "wild.py"), str(data), str(made)], check=True, stdout=sys.stderr
        )
        (made / "made").touch()
    return made


def machine() -> str:
    """What the figures were measured on."""
    model, memory = platform.machine(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), model)
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f} at the start"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and results; kept")
    parser.add_argument("--period", default="2025-07", help="2025-07 and -08 have 56 columns, later ones 57")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--peers", type=Path, default=REPOSITORY / ".peers" / "bin" / "python",
                        help="the interpreter of the peers' environment (make peers)")  # fmt: skip
    parser.add_argument("--wild", action="store_true", help="the month with untidy tags too")
    parser.add_argument("--small", action="store_true", help=f"a month of {SMALL:,} lines too, COPS alone")
    parser.add_argument("--retag", action="store_true", help="again after an alias, account and rule changed")
    parser.add_argument("--statements", action="store_true", help="where the CPU seconds of COPS went")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the one in the middle is shown")
    chosen = parser.parse_args()
    if not chosen.peers.exists() and set(chosen.parts) & set(PEERS):
        raise SystemExit(f"{chosen.peers}: no environment of the peers; `make peers`, or --parts floor cops")
    chosen.work = chosen.work.resolve()
    chosen.work.mkdir(parents=True, exist_ok=True)
    print(machine())
    data = prepare(chosen.work, chosen.lines, chosen.period)
    month("realistic month", data, chosen, chosen.parts, lines=chosen.lines)
    if chosen.wild:
        month("wild month", wild(data), chosen, chosen.parts, lines=chosen.lines)
    if chosen.small:
        small = prepare(chosen.work, SMALL, chosen.period)
        month("small month", small, chosen, ["cops"], lines=SMALL)


if __name__ == "__main__":
    main()
