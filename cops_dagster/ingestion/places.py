"""Where deliveries lie: the report roots, each reached by itself, and the months of reports below them.

Belongs here: from `COPS_CUR` to places, what cannot be reached, and by which marks a place has changed. Does
not belong here: which delivery of a place is taken (`ingestion/look.py`), how AWS lays out a month
(`cur/layout.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cops_dagster.cur import layout
from cops_dagster.cur.layout import ReportMonth
from cops_dagster.errors import CopsError
from cops_dagster.money.digest import digest
from cops_dagster.period import Period
from cops_dagster.settings import Settings
from cops_dagster.settings_places import is_s3, s3_meant
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
    if not is_s3(place):
        return Path(place)
    from cops_dagster.stores.aws import reports

    fetched = settings.fetched_place(place)
    reports.fetch(place, fetched, period, outlined=settings.leaves_in_s3)
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


def fingerprints(settings: Settings, known: Mapping[str, str] | None = None) -> dict[Period, str]:
    """What lies in the report roots: per month and root a digest over the manifests of its sources.

    Of a month in S3 only manifests are here before its first run, so they alone count: AWS writes them last.
    In a folder it also counts which delivery is complete, since people copy files in any order.

    Args:
        known: fingerprints by month, as remembered: a root that cannot be reached is as it was seen last, and
            the others go on.

    Raises:
        CopsError: why no root could be reached.
    """
    found: dict[Period, dict[str, list[str]]] = {}
    fetched = settings.fetched_place("s3://")
    there = lying(settings)
    for place in there.places:
        folder, month = place.root.folder, place.month
        try:
            marks = sorted(
                f"{file.name} {file.version} {file.size}" for file in layout.manifest_files(folder, month)
            )
            if not marks:
                continue  # AWS writes its manifest last: there is no delivery yet
            if not folder.root.is_relative_to(fetched):
                newest = layout.find(folder, month).newest
                marks.append(f"complete {newest.manifest_file.version if newest else 'none'}")
        except OSError as problem:  # one folder that may not be read; its run will say so
            marks = [f"unreadable {problem.strerror}"]
        by_root = found.setdefault(month.period, {})
        by_root.setdefault(_mark_of(place.root.place), []).append(digest(month.source_id, *marks))
    seen = {
        period: {root: digest(sorted(marks))[:32] for root, marks in by_root.items()}
        for period, by_root in found.items()
    }
    away = {_mark_of(place) for place in there.unreachable}
    for period, parts in seen.items():
        for part in (known or {}).get(str(period), "").split(" "):
            root, _, mark = part.partition("=")
            if root in away:
                parts[root] = mark
    return {
        period: " ".join(f"{root}={mark}" for root, mark in sorted(parts.items()))
        for period, parts in seen.items()
    }


def _mark_of(root: str) -> str:
    """A report root, short enough for a cursor."""
    return digest(root)[:8]


def first_period(settings: Settings) -> Period:
    """`COPS_FIRST_PERIOD`, else the oldest delivery found, else this month."""
    if settings.first_period:
        return Period.parse(settings.first_period)
    return min(_at_hand(settings), default=Period.of(datetime.now(UTC).date()))


def newest_period(settings: Settings) -> Period | None:
    """The newest delivery found; `None` for none."""
    return max(_at_hand(settings), default=None)


def _at_hand(settings: Settings) -> list[Period]:
    found = []
    for root in (*settings.report_roots, str(settings.deliveries_root)):
        # definitions load in seconds and without AWS: of a root in S3, what was fetched so far counts
        place = settings.fetched_place(root) if is_s3(root) else Path(root)
        try:
            found += [month.period for month in layout.months(files.Folder(place))]
        except (CopsError, OSError):
            continue  # a root that does not exist yet holds no period
    return found
