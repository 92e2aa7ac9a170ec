"""Prometheus as a source: exact figures, resets, gaps, units, and a server that fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.stores import tables as t
from cops_dagster.usage import prometheus as asking
from cops_dagster_tests.deliveries import give
from cops_dagster_tests.usage.declaring import Said, day_of, declaring, matrix, prometheus, take

DAY = day_of(1)
START = int(datetime(2025, 9, 1, tzinfo=UTC).timestamp())
STEP = 300
EVERY = range(START, START + 86_400 + STEP, STEP)
DECLARED = """
[measures.network]
unit = "bytes"
[measures.network.source]
kind = "prometheus"
url = "{url}"
query = "sum by (tenant_id) (tenant_network_bytes_total)"
"""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again without a pause."""
    monkeypatch.setattr(asking, "PAUSE_SECONDS", 0)


def rising(by: int, *, without: range = range(0), reset_at: int = 0) -> list[tuple[int, str]]:
    """A counter that rises by so much each step; it begins anew at 0 at a step."""
    return [
        (moment, str(by * (number - reset_at) if reset_at and number >= reset_at else by * number))
        for number, moment in enumerate(EVERY)
        if number not in without
    ]


def asked(folder: Path, answer: Said, *more: str, metadata: Mapping[str, Any] | None = None) -> Any:
    """The day as it was taken, or the refusal's code; `more` are fields of the source."""

    def said(what: str, given: Mapping[str, str]) -> Said:
        return {"status": "success", "data": metadata or {}} if what == "metadata" else answer

    with prometheus(said) as url:
        text = DECLARED.format(url=url) + "".join(f"{line}\n" for line in more)
        books = declaring(folder, text)
        try:
            take(books, DAY)
        except CopsError as refusal:
            return refusal.code
    with books.admin.read() as con:
        rows = con.execute(sa.select(t.tenant_usage)).all()
    return {row.tenant_id: row.value for row in rows}


def test_the_rises_of_a_counter_are_added_up_and_a_reset_loses_nothing(tmp_path: Path) -> None:
    series = {"acme": rising(7), "globex": rising(10, reset_at=100)}
    # 288 steps; of the one in which it began anew nothing was seen to rise
    assert asked(tmp_path, matrix(series)) == {"acme": 288 * 7, "globex": 287 * 10}
    proof = next((tmp_path / "home" / "evidence").rglob("*"), None)
    assert proof is not None
    kept = [
        json.loads(file.read_bytes())
        for file in (tmp_path / "home" / "evidence").rglob("*")
        if file.is_file() and b'"counter_resets"' in file.read_bytes()
    ]
    assert kept[0]["read"]["counter_resets"] == 1
    assert kept[0]["query"] == "sum by (tenant_id) (tenant_network_bytes_total)"


@pytest.mark.parametrize(("fold", "expected"), [("sum", "0.6"), ("max", "0.3"), ("last", "0.2")])
def test_samples_of_a_gauge_fold_exactly(tmp_path: Path, fold: str, expected: str) -> None:
    samples = [(EVERY[0], "0.1"), (EVERY[1], "0.3"), (EVERY[2], "0.2")]
    gauge = ('unit = "bytes"', f'fold = "{fold}"', "max_gap_minutes = 1440")
    assert asked(tmp_path, matrix({"acme": samples}), *gauge) == {"acme": Decimal(expected)}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (matrix({}), "E-USAGE-EMPTY"),
        (matrix({"acme": rising(1, without=range(100, 110))}), "E-USAGE-GAP"),
        (matrix({"acme": rising(1, without=range(40))}), "E-USAGE-GAP"),
        (matrix({"acme": rising(1, without=range(250, 289))}), "E-USAGE-GAP"),
        (matrix({"acme": rising(1), "globex": rising(1, without=range(100, 110))}), "E-USAGE-GAP"),
        (matrix({"acme": [(moment, "NaN") for moment in EVERY]}), "E-USAGE-VALUE"),
        (matrix({"acme": [(moment, "+Inf") for moment in EVERY]}), "E-USAGE-VALUE"),
        (matrix({"acme": rising(1)}, label="tenant"), "E-USAGE-QUERY"),
        ({**matrix({"acme": rising(1)}), "warnings": ["one store did not answer"]}, "E-USAGE-GAP"),
        ({"http": 400, "status": "error", "error": "parse error at char 3"}, "E-USAGE-QUERY"),
        ({"http": 503, "status": "error", "error": "query timed out"}, "E-USAGE-SOURCE"),
        ("<html>a login page</html>", "E-USAGE-SOURCE"),
        (500, "E-USAGE-SOURCE"),
        ({"status": "success", "data": None}, "E-USAGE-SOURCE"),
        ({**matrix({"acme": rising(1)}), "warnings": {"store": "silent"}}, "E-USAGE-GAP"),
        ("[" * 200_000, "E-USAGE-SOURCE"),
        (
            {
                "status": "success",
                "data": {"resultType": "matrix", "result": [{"metric": [1], "values": []}]},
            },
            "E-USAGE-SOURCE",
        ),
        ({"status": "success", "data": {"resultType": "matrix", "result": None}}, "E-USAGE-SOURCE"),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}, "E-USAGE-QUERY"),
        (matrix({"acme": rising(1), "globex": []}), "E-USAGE-QUERY"),  # a native histogram has no values
    ],
)
def test_what_is_no_whole_answer_is_refused(tmp_path: Path, answer: Said, code: str) -> None:
    assert asked(tmp_path, answer) == code


@pytest.mark.parametrize(
    ("metric", "values", "code"),
    [
        ({"tenant_id": 5}, rising(1), "E-USAGE-SOURCE"),
        ({"tenant_id": ["acme"]}, rising(1), "E-USAGE-SOURCE"),
        ({"tenant_id": "acme"}, [(10**400, "1")], "E-USAGE-SOURCE"),
        ({"tenant_id": "acme"}, [*rising(1), (EVERY[-1] + STEP, "9")], "E-USAGE-SOURCE"),
        ({"tenant_id": "acme"}, [(float(at), text) for at, text in rising(1)], {"acme": 288}),
        ({"tenant_id": "\ud800"}, rising(1), "E-USAGE-VALUE"),
        ({"tenant_id": "n" * 1001}, rising(1), "E-USAGE-VALUE"),
        ({"\ud800": "acme"}, rising(1), "E-USAGE-QUERY"),
    ],
)
def test_labels_and_moments_that_are_none_are_refused(
    tmp_path: Path, metric: dict[str, Any], values: list[tuple[int, str]], code: object
) -> None:
    """They were tracebacks, or half a sign that no database takes."""
    answer = {"resultType": "matrix", "result": [{"metric": metric, "values": values}]}
    hold = '\n[measures.network.contract]\nunknown = "hold"\n'
    assert asked(tmp_path, {"status": "success", "data": answer}, hold) == code


def test_a_tenant_that_comes_or_goes_within_the_day_is_no_gap(tmp_path: Path) -> None:
    series = {"acme": rising(1), "globex": rising(2, without=range(100))}
    assert asked(tmp_path, matrix(series)) == {"acme": 288, "globex": 2 * 188}


CONTRACT = '\n[measures.network.contract]\ntenants = ["globex"]\n'


def test_a_tenant_whom_the_contract_names_and_that_ends_at_noon_for_good_is_a_gap(tmp_path: Path) -> None:
    """Half a day of globex was taken for all of it, since the other series went on."""
    ended, late = rising(2, without=range(144, 289)), rising(2, without=range(100))
    for folder, series in (("ends", ended), ("begins", late)):
        found = asked(tmp_path / folder, matrix({"acme": rising(1), "globex": series}), CONTRACT)
        assert found == "E-USAGE-GAP"
        found = asked(
            tmp_path / f"{folder} the other", matrix({"acme": series, "globex": rising(1)}), CONTRACT
        )
        assert found == {"acme": (143 if folder == "ends" else 188) * 2, "globex": 288}
    may = f"{CONTRACT}whole_day = false"
    found = asked(tmp_path / "may", matrix({"acme": rising(1), "globex": ended}), may)
    assert found == {"acme": 288, "globex": 2 * 143}


def test_pods_that_follow_one_another_are_a_whole_day_of_their_tenant(tmp_path: Path) -> None:
    first, second = rising(2, without=range(144, 289)), rising(2, without=range(146))
    answer = matrix({"globex": first, "acme": rising(1)})
    answer["data"]["result"] += matrix({"globex": second})["data"]["result"]
    assert asked(tmp_path, answer, 'series = "many"', CONTRACT) == {"acme": 288, "globex": 2 * (143 + 142)}


def test_a_tenant_may_begin_within_its_first_day_and_end_within_its_last(tmp_path: Path) -> None:
    tenants = (
        "tenant_id,name,plan_id,active_from,active_to\nneo,Neo,team,2025-09-01,\n"
        "old,Old,team,2025-01-01,2025-09-02\n"
    )
    series = {
        "neo": rising(1, without=range(100)), "old": rising(1, without=range(200, 289)),
        "acme": rising(1), "globex": rising(1),
    }  # fmt: skip
    contract = '\n[measures.network.contract]\ntenants = "active"\n'

    def said(_: str, given: Mapping[str, str]) -> Said:
        later = int(given["start"]) - START
        return matrix({name: [(at + later, text) for at, text in one] for name, one in series.items()})

    with prometheus(said) as url:
        books = declaring(tmp_path, DECLARED.format(url=url) + contract)
        give(books, tmp_path, tenants=tenants)
        assert take(books, DAY).wrote
        with pytest.raises(CopsError, match="E-USAGE-GAP"):
            take(books, day_of(2))


def test_a_gap_that_may_be_is_bridged(tmp_path: Path) -> None:
    series = {"acme": rising(1, without=range(100, 110))}
    assert asked(tmp_path, matrix(series), "max_gap_minutes = 60") == {"acme": 288}


def test_several_series_of_a_tenant_are_added_up_where_that_is_declared(tmp_path: Path) -> None:
    twice = matrix({"acme": rising(1)})
    twice["data"]["result"] *= 2
    assert asked(tmp_path / "one", twice) == "E-USAGE-TWICE"
    assert asked(tmp_path / "many", twice, 'series = "many"') == {"acme": 2 * 288}


@pytest.mark.parametrize(
    ("more", "metadata", "code"),
    [
        (('unit = "MB"',), {}, "E-USAGE-UNIT"),
        (('metric = "up"',), {"up": [{"type": "counter", "unit": "seconds"}]}, "E-USAGE-UNIT"),
        (('metric = "up"',), {"up": [{"type": "gauge", "unit": ""}]}, "E-USAGE-UNIT"),
        (('metric = "up"',), {"up": [{"type": "counter", "unit": "bytes"}]}, {"acme": 288}),
        (('metric = "up"',), {}, {"acme": 288}),
    ],
)
def test_another_unit_than_the_declared_one_is_seen(
    tmp_path: Path, more: tuple[str, ...], metadata: dict[str, Any], code: object
) -> None:
    """By the name of the metric, as Prometheus wants it named, and by what the server knows of it."""
    assert asked(tmp_path, matrix({"acme": rising(1)}), *more, metadata=metadata) == code


def test_a_server_that_is_down_is_named_without_its_login(tmp_path: Path) -> None:
    text = DECLARED.replace('url = "{url}"', 'server = "metrics"')
    books = declaring(tmp_path, text, sources={"metrics": "http://ann:geheim@127.0.0.1:9"})
    with pytest.raises(CopsError) as caught:
        take(books, DAY)
    assert caught.value.code == "E-USAGE-SOURCE"
    assert "nobody listens there" in caught.value.found
    assert "geheim" not in str(caught.value.as_dict())


SPELLINGS = (
    "http://ann:geheim@127.0.0.1:9",
    "HTTPS://geheim@127.0.0.1:9",
    "http://127.0.0.1:9/geheim/",
    "http://127.0.0.1:9/?token=geheim",
    "http://127.0.0.1:9/#geheim",
    "http://ann:p/geheim@127.0.0.1:9",
    "http://ann:p#geheim@127.0.0.1:9",
    "http://ann:p?geheim@127.0.0.1:9",
    "http://ann:p@geheim@127.0.0.1:9",
    "http://ann:geheim@[::1",
    "http://ann:geheim@127.0.0.1:port",
    "http://ann:geheim%zz@127.0.0.1:9",
    "http://ann:ge\nheim@127.0.0.1:9",
    "http://127.0.0.1:9/x geheim",
    "ftp://ann:geheim@127.0.0.1",
    "ann:geheim@127.0.0.1:9",
    "Bearer geheim",
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_part_of_an_address_stands_in_a_refusal_a_log_or_the_books(
    tmp_path: Path, spelling: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The HTTP library warned of each try with the path of the address."""
    caplog.set_level("DEBUG")
    text = DECLARED.replace('url = "{url}"', 'server = "metrics"')
    books = declaring(tmp_path, text, sources={"metrics": spelling})
    with pytest.raises(CopsError) as caught:
        take(books, DAY)
    assert caught.value.code == "E-USAGE-SOURCE"
    told = "".join(traceback.format_exception(caught.value)) + str(caught.value.as_dict()) + caplog.text
    assert "heim" not in told
    kept = [file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert not [content for content in kept if b"heim" in content]


def test_what_an_address_holds_beside_its_host_is_no_evidence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = matrix({"acme": rising(1)})
    with prometheus(lambda what, _: answer if what.endswith("/geheim/api/v1/query_range") else 404) as url:
        text = DECLARED.replace('url = "{url}"', 'server = "metrics"')
        at = url.replace("http://", "http://ann:geheim@") + "/geheim/"
        books = declaring(tmp_path, text, sources={"metrics": at})
        assert take(books, DAY).wrote
    assert "geheim" not in caplog.text
    kept = [file.read_bytes() for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert not [content for content in kept if b"geheim" in content]


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "WHOLE_SECONDS", 0.2)
    with prometheus(lambda *_: matrix({}), ("Content-Length", "100000"), wait=0.6) as url:
        books = declaring(tmp_path, DECLARED.format(url=url))
        with pytest.raises(CopsError) as caught:
            take(books, DAY)
    assert caught.value.expected == "an answer within 0.2 s"


@pytest.mark.parametrize("header", [("Content-Length", "1000"), ("Content-Encoding", "gzip")])
def test_an_answer_that_breaks_off_is_a_refusal_of_its_day(tmp_path: Path, header: tuple[str, str]) -> None:
    with prometheus(lambda *_: matrix({}), header) as url:
        books = declaring(tmp_path, DECLARED.format(url=url))
        with pytest.raises(CopsError) as caught:
            take(books, DAY)
    assert caught.value.code == "E-USAGE-SOURCE"
    with books.admin.read() as con:
        (refused,) = con.execute(sa.select(t.usage_refusal)).all()
    assert refused.error_code == "E-USAGE-SOURCE"


def test_a_server_that_fails_once_is_asked_again(tmp_path: Path) -> None:
    answers = iter([503, matrix({"acme": rising(1)})])
    with prometheus(lambda what, given: next(answers)) as url:
        books = declaring(tmp_path, DECLARED.format(url=url))
        assert take(books, DAY).wrote


# --- a real server ---------------------------------------------------------------------------------------

PROMETHEUS, PROMTOOL = (
    shutil.which(name, path=os.pathsep.join([os.environ.get("COPS_TEST_PROMETHEUS", ""), os.environ["PATH"]]))
    for name in ("prometheus", "promtool")
)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """A Prometheus server over recorded series: two counters, one of which began anew, over two days."""
    assert PROMETHEUS
    assert PROMTOOL
    recorded, lines = tmp_path / "recorded.txt", []
    lines.append("# TYPE tenant_network_bytes counter")
    for tenant, by, reset in (("acme", 700, 0), ("globex", 1_000_001, 150)):
        for number in range(-12, 600):
            value = by * (number - reset if reset and number >= reset else number + 12)
            moment = START + number * STEP
            lines.append(f'tenant_network_bytes_total{{tenant_id="{tenant}",pod="a"}} {value} {moment}')
    recorded.write_text("\n".join([*lines, "# EOF", ""]), encoding="utf-8")
    data = tmp_path / "tsdb"
    subprocess.run(
        [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", recorded, data],
        check=True,
        capture_output=True,
    )
    (tmp_path / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    log = (tmp_path / "prometheus.log").open("w")
    server = subprocess.Popen(
        [
            PROMETHEUS, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0", "--log.format=json",
        ],
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        address = None
        while address is None:
            assert server.poll() is None, (tmp_path / "prometheus.log").read_text(encoding="utf-8")
            for line in (tmp_path / "prometheus.log").read_text(encoding="utf-8").splitlines():
                said = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
                if "Listening on" in said.get("msg", ""):
                    address = said["address"]
        ready = False
        while not ready:
            ready = subprocess.run(
                [PROMTOOL, "query", "instant", f"http://{address}", "1"], check=False, capture_output=True
            ).returncode == 0  # fmt: skip
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait()
        log.close()


@pytest.mark.long
@pytest.mark.skipif(not (PROMETHEUS and PROMTOOL), reason="needs Prometheus: apt-get install prometheus")
def test_a_real_server_gives_what_its_own_query_tool_gives(real: str, tmp_path: Path) -> None:
    books = declaring(tmp_path / "books", DECLARED.format(url=real))
    take(books, DAY)
    with books.admin.read() as con:
        taken = {row.tenant_id: row.value for row in con.execute(sa.select(t.tenant_usage))}
    assert PROMTOOL
    told = subprocess.run(
        [
            PROMTOOL, "query", "range", "--format=json", f"--start={START}", f"--end={START + 86_400}",
            f"--step={STEP}s", real, "sum by (tenant_id) (tenant_network_bytes_total)",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = {}
    for series in json.loads(told.stdout):
        values = [Decimal(text) for _, text in series["values"]]
        rises = pairwise(values)
        said[series["metric"]["tenant_id"]] = sum(b - a if b >= a else b for a, b in rises)
    assert taken == said == {"acme": 288 * 700, "globex": 287 * 1_000_001}
