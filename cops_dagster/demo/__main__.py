"""`python -m cops_dagster.demo FOLDER [--lines N] [--period YYYY-MM]…`: the demo without COPS."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cops_dagster.demo.home import PERIODS, write_demo
from cops_dagster.errors import CopsError
from cops_dagster.period import Period


def main() -> int:
    """Writes the demo and prints one line a month; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m cops_dagster.demo", description=write_demo.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=20_000, help="lines of each month")
    parser.add_argument("--period", action="append", help="YYYY-MM; again for more (default: three months)")
    chosen = parser.parse_args()
    try:
        periods = [Period.parse(text) for text in chosen.period] if chosen.period else PERIODS
        months = write_demo(chosen.folder, lines=chosen.lines, periods=periods)
    except CopsError as refusal:
        parser.exit(2, f"{refusal}\n")
    for period, month in months.items():
        sys.stdout.write(f"{period}  {month.rows:>12,} lines  {month.unblended:>16,.2f} USD\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
