"""Asking a Prometheus server for the samples of a day, by its HTTP API.

Belongs here: the calls, what a server says of its metrics, gaps, and what cannot be an answer. Does not
belong here: from samples to a figure (`usage/samples.py`), from names to tenants (`usage/judged.py`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cops_dagster.errors import CopsError
from cops_dagster.money import amount
from cops_dagster.redaction import masked
from cops_dagster.settings import Settings
from cops_dagster.stores import network
from cops_dagster.usage import in_time, samples
from cops_dagster.usage.answer import Answer, Seen, refused
from cops_dagster.usage.declared import Measure, Prometheus, server_url
from cops_dagster.usage.samples import Sample

if TYPE_CHECKING:
    import requests

TRIES = 4
PAUSE_SECONDS = 1
"""Tries of each call, with pauses that double: a server that restarts is back within seconds."""
_AGAIN = (429, 502, 503, 504)
SECONDS = 60
WHOLE_SECONDS = 600
"""For all calls of a day: a server may send a byte now and then, for ever."""
BYTES_MAX = 256 << 20
_SUFFIX = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*_(bytes|seconds)(?:_total|_sum)?\b")
"""Prometheus' own way to name units: the base unit ends the name of a metric."""


Series = tuple[Mapping[str, str], Sequence[Sample]]
"""Labels and samples."""


def ask(settings: Settings, measure: Measure, day: date) -> Answer:
    """The figure of every series over the day, by its label.

    Raises:
        CopsError: `E-KEYS-SOURCE`; `E-USAGE-SOURCE` for a server that does not answer; `E-USAGE-QUERY`,
            `E-USAGE-UNIT`, `E-USAGE-GAP`, `E-USAGE-VALUE`.
    """
    source = measure.source
    assert isinstance(source, Prometheus)
    url = source.url or server_url(settings, str(source.server))
    host = _host(measure, day, url)
    start, end = _day(day)
    last = end if source.fold == "rises" else end - source.step_seconds

    def asked() -> Sequence[Series]:
        import requests

        with network.unlogged(), requests.Session() as session:
            said = _Server(session, url.rstrip("/"), measure.name, day)
            _require_unit(said, measure, source)
            return said.range(source.query, start, last, source.step_seconds)

    try:
        series = in_time.within(WHOLE_SECONDS, asked)
    except TimeoutError:
        raise refused(
            "E-USAGE-SOURCE", measure.name, day, f"an answer within {WHOLE_SECONDS} s", "a part",
            "ask for less: a longer step_seconds, fewer series",
        ) from None  # fmt: skip
    rows, resets = [], 0
    seen: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for labels, found in series:
        name = labels.get(source.label)
        if name is None:
            raise refused(
                "E-USAGE-QUERY", measure.name, day, f"series with the label {source.label}",
                f"one with {', '.join(sorted(labels)) or 'no label'}",
                f"aggregate with `sum by ({source.label}) (…)`, or correct label",
            )  # fmt: skip
        try:
            folded = samples.fold(found, source.fold)
        except CopsError as problem:
            raise refused(
                "E-USAGE-VALUE", measure.name, day, f"numbers in the series of {name!r}",
                problem.found, "correct the query: it divides by nothing, or its figures are no usage",
            ) from None  # fmt: skip
        rows.append((name, amount.to_decimal(folded.atto)))
        resets += folded.resets
        seen[name].append((found[0][0], found[-1][0]))
    _require_no_gap(measure, source, day, series, start, last)
    return Answer(
        rows,
        source.query,
        {
            "server": host, "from": start, "to": last,
            "step_seconds": source.step_seconds,
            "fold": source.fold, "series": len(series), "samples": sum(len(one) for _, one in series),
            "counter_resets": resets,
        },
        may_repeat=source.series == "many",
        seen=Seen(seen, start, last, 60 * source.max_gap_minutes),
    )  # fmt: skip


def _day(day: date) -> tuple[int, int]:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(begin.timestamp()), int((begin + timedelta(days=1)).timestamp())


def _host(measure: Measure, day: date, url: str) -> str:
    """The host of an address that is one: no text of a wrong one may be shown, since it may be a secret."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or url.count("@") > 1 or re.search(r"[\s\x00-\x1f?#]", url):
        raise refused(
            "E-USAGE-SOURCE", measure.name, day, "the root of a server: https://host:port, with or without a"
            " login and a path", "another address",
            f"correct {_place(measure)}; write signs of a login as %40, %2F, %3F, %23",
        )  # fmt: skip
    return str(parts.hostname)


def _place(measure: Measure) -> str:
    server = getattr(measure.source, "server", None)
    return f"COPS_SOURCES__{server.upper()}" if server else "url"


class _Server:
    """One server, asked about one day of a measure."""

    def __init__(self, session: requests.Session, url: str, measure: str, day: date) -> None:
        self._session, self._url, self._measure, self._day = session, url, measure, day

    def range(self, query: str, start: int, end: int, step: int) -> Sequence[Series]:
        """Every series with its samples."""
        asked = {"query": query, "start": str(start), "end": str(end), "step": str(step)}
        answer = self._get("query_range", asked)
        if said := answer.get("warnings"):
            first = str(said[0] if isinstance(said, list) else said)
            raise self._refused("E-USAGE-GAP", "a whole answer", f"a part: {masked(first)}", "mend it")
        try:
            kind, found = answer["data"]["resultType"], []
            if kind == "matrix":
                found = [_series(one, start, end) for one in answer["data"]["result"]]
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as problem:
            raise self._no_answer(f"JSON of another shape: {type(problem).__name__}") from None
        if kind != "matrix":
            raise self._refused("E-USAGE-QUERY", "series over time", str(kind), "correct it")
        if not found:
            raise self._refused(
                "E-USAGE-EMPTY", "a series for each tenant", "none",
                "run the query in the server's own page; is the job that scrapes it alive?",
            )  # fmt: skip
        if silent := next((labels for labels, values in found if not values), None):
            raise self._refused(
                "E-USAGE-QUERY", "series of numbers",
                f"one without any: {', '.join(f'{name}={value}' for name, value in sorted(silent.items()))}",
                "of a native histogram ask for a number: histogram_sum(…) or histogram_count(…)",
            )  # fmt: skip
        return found

    def metadata(self, metric: str) -> Mapping[str, str]:
        """Type and unit of a metric, as far as the server knows."""
        known = self._get("metadata", {"metric": metric}).get("data") or {}
        found = known.get(metric) if isinstance(known, dict) else None
        return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}

    def _get(self, what: str, asked: Mapping[str, str]) -> Any:
        status, body = self._tried(f"{self._url}/api/v1/{what}", asked)
        if len(body) > BYTES_MAX:
            raise self._refused("E-USAGE-QUERY", f"at most {BYTES_MAX} bytes", "more", "aggregate the series")
        try:
            said = json.loads(body, parse_float=str)
            is_good = said["status"] == "success"
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._no_answer(f"HTTP {status} and no JSON of one") from None
        if not is_good:
            code = "E-USAGE-SOURCE" if status >= 500 else "E-USAGE-QUERY"
            raise self._refused(
                code, "a query that runs", masked(str(said.get("error", "an error"))), "correct query"
            )
        return said

    def _tried(self, url: str, asked: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the first answer that is none of a server that restarts, or the last."""
        import requests
        import urllib3

        for number in range(1, TRIES + 1):
            try:
                answer = self._session.get(
                    url, params=asked, timeout=SECONDS, stream=True, allow_redirects=False
                )
                if number == TRIES or answer.status_code not in _AGAIN:
                    return answer.status_code, answer.raw.read(BYTES_MAX + 1, decode_content=True)
                answer.close()
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as problem:
                why = network.why(problem)
            if number < TRIES:
                sleep(PAUSE_SECONDS * 2 ** (number - 1))
        raise self._refused(
            "E-USAGE-SOURCE", "an answer of Prometheus", f"{why}, {TRIES} times tried",
            "start it, or correct url; then: cops keys refresh " + self._measure,
        )  # fmt: skip

    def _no_answer(self, found: str) -> CopsError:
        expected, next_step = "an answer of Prometheus", "correct url: it is the server's root, without /api"
        return self._refused("E-USAGE-SOURCE", expected, found, next_step)

    def _refused(self, code: str, expected: str, found: str, next_step: str) -> CopsError:
        return refused(code, self._measure, self._day, expected, found, next_step)


def _series(given: Mapping[str, Any], start: int, end: int) -> Series:
    """Labels and samples of the day. Raises `ValueError` for labels that are no text, and other moments."""
    labels = dict(given["metric"])
    values = [(Decimal(str(at)), str(text)) for at, text in given.get("values", ())]
    if not all(isinstance(one, str) for one in labels.values()):
        raise ValueError
    if not all(start <= at <= end and at == int(at) for at, _ in values):
        raise ValueError
    return labels, [(int(at), text) for at, text in values]


def _require_unit(server: _Server, measure: Measure, source: Prometheus) -> None:
    """What the server and the metric's name say of unit and type fits what is declared."""
    said: dict[str, str] = {}
    if source.metric:
        known = server.metadata(source.metric)
        if known.get("unit"):
            said["the server's metadata"] = str(known["unit"])
        if known.get("type") not in (None, "", "unknown", "counter") and source.fold == "rises":
            raise server._refused(
                "E-USAGE-UNIT", "a counter, of which the rises are added up",
                f"{source.metric} is a {known['type']}", 'set fold to "sum", "max" or "last"',
            )  # fmt: skip
    for name in _SUFFIX.finditer(source.query):
        said.setdefault(f"the name {name[0]}", name[1])
    for where, unit in said.items():
        if unit != measure.source_unit:
            raise server._refused(
                "E-USAGE-UNIT", f"{measure.source_unit}, as declared", f"{unit}, by {where}",
                f'set source.unit = "{unit}": figures of it become {measure.unit} where that is exact',
            )  # fmt: skip


def _require_no_gap(
    measure: Measure,
    source: Prometheus,
    day: date,
    series: Sequence[Series],
    start: int,
    end: int,
) -> None:
    longest = 60 * source.max_gap_minutes
    together = {(moment, moment) for _, found in series for moment, _ in found}
    gap, whose = samples.silence(together, start, end, longest), "all series"
    for labels, found in series:
        if gap is None:  # a tenant may begin or end within the day, and not be silent between
            gap = samples.silence([(at, at) for at, _ in found], found[0][0], found[-1][0], longest)
            whose = f"the series of {labels.get(source.label)!r}"
    if gap is not None:
        since, until = (datetime.fromtimestamp(one, UTC).strftime("%H:%M") for one in gap)
        raise refused(
            "E-USAGE-GAP", measure.name, day, f"samples every {source.max_gap_minutes} minutes at least",
            f"none from {since} to {until} UTC in {whose}",
            "refresh the day once the samples are there, or raise max_gap_minutes if it may be silent",
        )  # fmt: skip
