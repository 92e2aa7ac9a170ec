"""Where deliveries lie: the report roots, each reached by itself, and the months of reports below them.

Belongs here: from `COPS_CUR` to places, and what cannot be reached. Does not belong here: which delivery of
a place is taken (`ingestion/look.py`), how AWS lays out a month (`cur/layout.py`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from cops_dagster.cur import layout
from cops_dagster.cur.layout import ReportMonth
from cops_dagster.errors import CopsError
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.settings_places import s3_meant
from cops_dagster.stores import files


@dataclass(frozen=True)
class Root:
    """One report root. `name` is what a person calls it, or ''; it begins the ids of its sources."""

    place: str
    folder: files.Folder
    name: str = ""

    def months(self) -> list[ReportMonth]:
        """Every source and period that lies here, oldest first.

        Raises:
            CopsError: `E-SOURCE-UNKNOWN` for a folder that is not there or cannot be read.
        """
        try:
            found = layout.months(self.folder)
        except OSError as problem:
            raise unreadable(f"report root {self.place}", problem) from None
        if not self.name:
            return found
        return [replace(month, source_id=f"{self.name}/{month.source_id}") for month in found]


@dataclass(frozen=True)
class Place:
    """A source's month in a report root."""

    root: Root
    month: ReportMonth


@dataclass(frozen=True)
class Lying:
    """What lies in the roots that could be read, and why the others could not, by root.

    Attributes:
        clashes: sources that lie in several places under one name, with those places.
    """

    places: tuple[Place, ...]
    unreachable: dict[str, CopsError]
    clashes: dict[str, tuple[Place, ...]]


def unreadable(subject: str, problem: OSError) -> CopsError:
    """A folder or file of a report root that this process may not read."""
    return CopsError(
        "E-SOURCE-UNKNOWN",
        subject,
        expected="folders and files that can be read",
        found=f"{problem.strerror}: {problem.filename}",
        next_step="correct the rights, or COPS_CUR",
    )


def roots(settings: Settings, period: Period | None = None) -> tuple[list[Root], dict[str, CopsError]]:
    """The report roots of `COPS_CUR` and the home's own deliveries, each once; and those out of reach.

    Of a root in S3 the manifests, and the files of `period`, are brought into the home first. A folder that
    is named twice, by a link or by `..`, is one root.
    """
    found: list[Root] = []
    unreachable: dict[str, CopsError] = {}
    seen: set[Path] = set()
    for name, place in settings.named_roots:
        try:
            root = opened(settings, name, place, period)
        except CopsError as problem:
            unreachable[place] = problem
            continue
        if (real := root.folder.root.resolve()) not in seen:
            seen.add(real)
            found.append(root)
    own = settings.deliveries_root
    if own.is_dir() and own.resolve() not in seen:
        found.append(Root(str(own), files.Folder(own)))
    return found, unreachable


def opened(settings: Settings, name: str, place: str, period: Period | None = None) -> Root:
    """One report root; of one in S3 manifests, and the files of `period`, are brought into the home.

    Raises:
        CopsError: `E-SOURCE-UNKNOWN` for another writing of a place in S3; what S3 answers.
    """
    return Root(place, files.Folder(_fetched(settings, place, period)), name)


def _fetched(settings: Settings, place: str, period: Period | None) -> Path:
    right = s3_meant(place)
    if right:
        raise CopsError(
            "E-SOURCE-UNKNOWN",
            f"report root {place}",
            expected="a folder or s3://bucket/prefix",
            found="another writing of a place in S3",
            next_step=f"correct COPS_CUR: write {right}",
        )
    if not place.startswith("s3://"):
        return Path(place)
    from cops_dagster.stores.aws import reports

    fetched = settings.fetched_place(place)
    reports.fetch(place, fetched, period)
    return fetched


def lying(settings: Settings, period: Period | None = None) -> Lying:
    """Every place of every reachable root; of `period` alone when one is given.

    Raises:
        CopsError: why a root cannot be reached, when none can and nothing was handed over.
    """
    reached, unreachable = roots(settings, period)
    places: list[Place] = []
    for root in reached:
        try:
            months = root.months()
        except CopsError as problem:
            unreachable[root.place] = problem
            continue
        places += [Place(root, month) for month in months if period is None or month.period == period]
    if unreachable and not places:
        raise next(iter(unreachable.values()))
    by_source: defaultdict[tuple[str, Period], list[Place]] = defaultdict(list)
    for place in places:
        by_source[place.month.source_id, place.month.period].append(place)
    twice = {source: tuple(found) for (source, _), found in by_source.items() if len(found) > 1}
    return Lying(tuple(places), unreachable, twice)


def months(settings: Settings) -> list[ReportMonth]:
    """Every source and period that lies in a report root that can be reached, oldest first per root.

    Raises:
        CopsError: as `lying`.
    """
    return [place.month for place in lying(settings).places]


def clash(source_id: str, period: Period, found: tuple[Place, ...], booked: Path | None) -> CopsError:
    """Two roots hold a source of one name: whose is whose must be said.

    Args:
        booked: where the delivery that readers see of this source lies, if any: its root keeps its names.
    """
    others = [one for one in found if booked is None or not booked.is_relative_to(one.root.folder.root)]
    named = (others or list(found))[-1].root.place
    return CopsError(
        "E-SOURCE-CLASH",
        f"source {source_id} of {period}",
        expected="one place per source, by its path below the report root",
        found="several: " + ", ".join(place.root.place for place in found),
        next_step=f"name a root in COPS_CUR, such as other={named}: its sources are then called"
        f" other/{source_id}, and a root without a name keeps its names; or remove one",
    )
