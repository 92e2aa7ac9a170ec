"""Room to work in: it goes with its process, however that ends, and never while the process lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cops_dagster.stores import scratch

ONE = """
import sys
from pathlib import Path
from cops_dagster.stores import scratch
with scratch.folder(Path(sys.argv[1])) as made:
    (made / "rows").write_text("spilled")
    print(made, flush=True)
    sys.stdin.read()
"""


def another(home: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has a folder below a home, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", ONE, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def left(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "spill").iterdir())


def test_a_folder_is_gone_when_its_work_is_done(tmp_path: Path) -> None:
    with scratch.folder(tmp_path) as made:
        (made / "rows").write_text("spilled")
    assert left(tmp_path) == []


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    """Nothing removed them: with real months gigabytes stayed."""
    killed, gone = another(tmp_path)
    living, stays = another(tmp_path)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert scratch.clear(tmp_path) == 1
    assert (gone.exists(), (stays / "rows").read_text()) == (False, "spilled")
    living.communicate("")
    assert left(tmp_path) == []


def test_what_an_older_version_left_is_removed_after_a_day(tmp_path: Path) -> None:
    """Its folders have no sign of life, and it may run beside this one while a home is brought up to date."""
    for name, age in (("tmpold", 90_000), ("tmpnew", 60)):
        folder = tmp_path / "spill" / name
        folder.mkdir(parents=True)
        at = time.time() - age
        os.utime(folder, (at, at))
    assert scratch.clear(tmp_path) == 1
    assert left(tmp_path) == ["tmpnew"]


def test_clearing_up_where_nothing_ever_spilled_makes_nothing(tmp_path: Path) -> None:
    assert scratch.clear(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []
