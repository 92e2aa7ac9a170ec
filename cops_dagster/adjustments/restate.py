"""A month made again from evidence alone, in an empty home: the same entries, or the books are wrong.

Belongs here: `cops evidence replay`, and the same machinery over a late delivery's files. Nothing of the
admin database is read but through the sealed documents. Does not belong here: comparing and booking.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cops_dagster import revision, settings
from cops_dagster.allocation import allocate
from cops_dagster.errors import CopsError
from cops_dagster.evidence import documents, seal
from cops_dagster.evidence.home import open_books
from cops_dagster.ingestion import deliver, ingest, look
from cops_dagster.lake.opened import on_engine_of
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.settings_sections import Lake, Security
from cops_dagster.stores import scratch
from cops_dagster.stores.files import sha256_all
from cops_dagster.stores.objects import Objects
from cops_dagster.tagging import tag


@dataclass(frozen=True)
class Given:
    """One source's delivered files: the names AWS gave them, and where their bytes are now.

    `digests` are those of first sight, where the files do not come out of the evidence store.
    """

    source: str
    files: Sequence[tuple[str, Path]]
    digests: Sequence[str] = ()


@dataclass(frozen=True)
class Replayed:
    """Outcome of a replay: two digests, equal when the month is what its evidence says."""

    period: Period
    sealed_digest: str
    replayed_digest: str
    entry_count: int

    @property
    def agrees(self) -> bool:
        """The replay gave the sealed result."""
        return self.sealed_digest == self.replayed_digest


def replay(home: Path, objects: Objects, period: Period, on: Settings | None = None) -> Replayed:
    """Replays a closed month from the evidence store alone.

    Args:
        home: a folder to work in, if it is there; what is made in it is removed again.
        on: settings whose engine reads the lines; this machine's if none are given.

    Raises:
        CopsError: `E-EVIDENCE-…` for objects that are missing or not what was stored.
    """
    sealed = json.loads(objects.get(objects.named(seal.name_of(period))))
    inputs = json.loads(objects.get(sealed["head_inputs_key"]))
    with _folder(home) as folder:
        given = []
        for number, delivery in enumerate(sealed["deliveries"], start=1):
            place = folder / "kept" / str(number)
            place.mkdir(parents=True)
            files = []
            for file in delivery["files"]:
                path = place / f"{file['position']:05d}"
                objects.fetch(f"objects/{file['sha256'][:2]}/{file['sha256']}", path)
                files.append((str(file["name"]), path))
            given.append(Given(f"source-{number}", files))
        with remade(folder / "home", inputs, period, given, on) as books, books.admin.read() as con:
            run = head(con, allocate.TABLE, period)
            found = seal.of_period(books, con, period, run.run_id if run else "")
    return Replayed(period, sealed["result_digest"], found.result, found.row_count)


@contextmanager
def _folder(home: Path) -> Iterator[Path]:
    if home.is_dir():
        with scratch.folder(home) as folder:
            yield folder
    else:  # evidence in S3 needs no home, and none is made for it
        with tempfile.TemporaryDirectory(prefix="cops-replay-") as elsewhere:
            yield Path(elsewhere)


@contextmanager
def remade(
    home: Path,
    inputs: dict[str, Any],
    period: Period,
    deliveries: Sequence[Given],
    on: Settings | None = None,
) -> Iterator[Books]:
    """Books in an empty home that hold one month, made from a run's inputs and some delivered files.

    Args:
        inputs: a `run_inputs` document.
        on: as of `replay`.
    """
    given = inputs["settings"]
    # nothing of this process's places: a store of others would be written to, or refuse another chain
    own = settings.load(
        home=home,
        cur="",
        admin_db=None,
        evidence=None,
        lake=Lake(),
        catalog="file",
        engine="duckdb",
        security=Security(),
        signing_key=None,
        actor="replay",
        first_period=None,
        **given,
    )
    opened = open_books(on_engine_of(own, on))
    books = replace(opened, revision=revision.of(inputs))  # what was closed is not judged by later rules
    try:
        with books.admin.write() as con:
            documents.restore(con, inputs["tables"])
        for delivery in deliveries:
            _hand_over(books, period, delivery)
        look.take_as_given(books, period)
        if len(ingest.ingest(books, period)) < len(deliveries):
            raise CopsError(
                "E-DIGEST",
                f"period {period}",
                expected=f"{len(deliveries)} deliveries that can be read",
                found="fewer",
                next_step="see `cops evidence verify`",
            )
        tag.tag(books, period)
        allocate.allocate(books, period)
        yield books
    finally:
        books.admin.close()
        shutil.rmtree(home, ignore_errors=True)


def _hand_over(books: Books, period: Period, delivery: Given) -> None:
    if not delivery.files:
        raise CopsError(
            "E-CHUNK-MISSING",
            f"delivery {delivery.source} of {period}",
            expected="its files",
            found="none",
            next_step="see `cops evidence verify`",
        )
    place = books.settings.home / "given" / delivery.source
    place.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, path) in enumerate(delivery.files, start=1):
        # a delivered name is data: only its ending, which says the format, becomes part of a path
        ending = re.search(r"(\.[a-z0-9]{1,8}){1,2}$", name.lower())
        target = place / f"part-{number:05d}{ending[0] if ending else ''}"
        shutil.copyfile(path, target)
        paths.append(target)
    if delivery.digests and sha256_all(paths) != list(delivery.digests):
        raise CopsError(
            "E-DIGEST",
            f"delivery {delivery.source} of {period}",
            expected="the bytes of first sight",
            found="others: a file was exchanged while it was copied",
            next_step="run it again",
        )
    deliver.deliver(books, paths, period, source_id=delivery.source)
