"""Measures a month against the floor, each part in a fresh process. By hand, never in a test.

    python benchmarks/run.py --lines 10000000 --work /somewhere/with/space

Imports nothing heavy itself: on Linux a child's peak memory starts from what its parent held.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
REPORT = "cops-demo"
COPS = (sys.executable, "-m", "cops_dagster.cli.start")
CONTROL_FAILED = 1  # exit code of cops when a check does not hold: the month is there all the same
PARTS = ("floor", "pandas", "cops")


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
    with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            command, stdout=out, stderr=err, cwd=REPOSITORY, env={**os.environ, **(env or {})}
        )
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
    for path in sorted((data / "cur").rglob("*.parquet")):  # every part finds the files in the page cache
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
    return data


def check_total(measured: Measured, data: Path, period: str, tolerance: Decimal) -> None:
    """A fast wrong answer is none: rows and cost are those the generator stated."""
    stated = json.loads((data / "expected.json").read_text(encoding="utf-8"))[period]
    found = json.loads(measured.printed)
    off = abs(Decimal(found["unblended_usd"]) - Decimal(stated["unblended_usd"]))
    if found["rows"] != stated["rows"] or off > tolerance:
        raise SystemExit(
            f"{measured.name}: {found} is not {stated['rows']} rows, {stated['unblended_usd']} USD"
        )


def bare(name: str, script: str, data: Path, work: Path, tolerance: str) -> Measured:
    """The floor or pandas, writing to an empty folder."""
    [month] = sorted((data / "cur" / REPORT).iterdir())
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    measured = measure(
        name,
        [sys.executable, str(HERE / script), str(month), str(out)],
        log=work / f"{script}.log",
        is_month=True,
    )
    measured = replace(measured, disk_mib=size_of(out))
    shutil.rmtree(out)
    period = f"{month.name[:4]}-{month.name[4:6]}"
    check_total(measured, data, period, Decimal(tolerance))
    return measured


def cops(data: Path, work: Path, period: str) -> list[Measured]:
    """COPS from an empty home: the month, the same again, status, help."""
    home = work / "home"
    shutil.rmtree(home, ignore_errors=True)
    env = {"COPS_HOME": str(home), "COPS_CUR": str(data / "cur")}
    log = work / "cops.log"
    measure("cops admin load", [*COPS, "admin", "load", str(data / "inputs")], log=log, env=env)
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
    return found


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
        disk = f"{one.disk_mib:,.0f}" if one.is_month else ""
        numbers = f"{one.seconds:.2f} | {times} | {one.cpu_seconds:.1f} | {one.peak_mib:,.0f} | {disk}"
        text.append(f"| {one.name} | {numbers} | {rate} |")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and results; kept")
    parser.add_argument("--period", default="2025-07", help="2025-07 and -08 have 56 columns, later ones 57")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    chosen = parser.parse_args()
    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    data = prepare(work, chosen.lines, chosen.period)
    results: list[Measured] = []
    if "floor" in chosen.parts:
        results.append(bare("floor", "floor.py", data, work, "0"))
    if "pandas" in chosen.parts:
        # floats: the sum of a month is right to about nine digits
        results.append(bare("pandas, Arrow types", "pandas_month.py", data, work, "0.01"))
    if "cops" in chosen.parts:
        results += cops(data, work, chosen.period)
    size = sum(path.stat().st_size for path in (data / "cur").rglob("*.parquet"))
    delivered = f"{chosen.lines:,} lines of {chosen.period}, {size / 2**20:,.0f} MiB delivered"
    print(f"{delivered}, {os.cpu_count()} cores\n")
    print(table(results, chosen.lines))


if __name__ == "__main__":
    main()
