"""The whole deployment as processes: nginx, two webservers, daemon, PostgreSQL with the shipped logins.

A page of somebody else, open in the browser of an operator who is logged in, changes nothing; the operator's
own page starts a run, and the viewer's is told that it may not.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from cops_dagster.stores.admin import find_admin
from cops_dagster_tests.deliveries import INPUTS, MONTH, lines, write
from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.graph import door, logins
from cops_dagster_tests.graph.door import NAME, OPERATOR, VIEWER, Door
from cops_dagster_tests.graph.instance import Dagster, running, webserver

pytestmark = pytest.mark.long
NAMES = ("chromium", "chromium-browser", "google-chrome")
LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message } ... on UnauthorizedError { message } } }"""
PARAMS = {
    "selector": {
        "repositoryLocationName": "cops_dagster.definitions", "repositoryName": "__repository__",
        "jobName": "materialise_period",
    },
    "runConfigData": {},
    "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "2025-09"}]},
}  # fmt: skip
ATTACK = (
    'mutation { launchRun(executionParams: {selector: {repositoryLocationName: "cops_dagster.definitions",'
    ' repositoryName: "__repository__", jobName: "materialise_period"}, runConfigData: {}, executionMetadata:'
    ' {tags: [{key: "dagster/partition", value: "2025-09"}]}}) { __typename } }'
)
EVIL = """<!doctype html><title>evil</title><body>
<script>
const door = location.hash.slice(1)
const at = `https://${door}/graphql`, socket = `wss://${door}/graphql`
const query = 'ATTACK'
const asked = `${at}?query=${encodeURIComponent(query)}`, seen = []
const note = (what) => (value) => seen.push(`${what}: ${value}`)
const image = new Image(); image.src = asked; image.onload = note('image'); document.body.append(image)
const frame = document.createElement('iframe'); frame.name = 'f'; document.body.append(frame)
const form = document.createElement('form')
form.method = 'post'; form.enctype = 'text/plain'; form.target = 'f'; form.action = asked
form.innerHTML = '<input name="x" value="1">'; document.body.append(form); form.submit()
const inner = document.createElement('iframe')
inner.src = `https://${door}/runs`; document.body.append(inner)
const body = JSON.stringify({query})
const upload = new FormData()
upload.append('operations', body); upload.append('0', new Blob(['x']), 'x')
window.done = (async () => {
  for (const [what, how] of Object.entries({
    simple: {method: 'POST', mode: 'no-cors', credentials: 'include', body},
    json: {method: 'POST', credentials: 'include', headers: {'Content-Type': 'application/json'}, body},
    upload: {method: 'POST', mode: 'no-cors', credentials: 'include', body: upload},
  })) await fetch(what == 'simple' ? asked : at, how)
    .then(a => note(what)(a.status || a.type), note(what))
  await new Promise((end) => {
    const ws = new WebSocket(socket, 'graphql-ws')
    ws.onopen = () => { note('socket')('open'); end() }
    ws.onerror = () => { note('socket')('refused'); end() }
  })
  await new Promise((end) => setTimeout(end, 2000))
  return seen
})()
</script>"""


@dataclass(frozen=True)
class Deployed:
    """What runs: the door, and Dagster behind it."""

    door: Door
    dagster: Dagster
    ledger: str
    evil: str


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("deployed")
    write(folder / "cur", [lines(MONTH)])
    (folder / "evil").mkdir()
    (folder / "evil" / "index.html").write_text(EVIL.replace("ATTACK", ATTACK))
    with ExitStack() as stack:
        urls = stack.enter_context(logins.made())
        common = {"COPS_FIRST_PERIOD": "2025-09"}
        writer = common | {
            "COPS_ADMIN_DB": urls["cops_daemon"], "COPS_CUR": str(folder / "cur"), "COPS_ACTOR": "lee",
        }  # fmt: skip
        (folder / "home").mkdir()
        _load(folder, writer)
        stopped = ["cur_manifests"]
        dagster = stack.enter_context(
            running(folder / "home", stopped=stopped, storage=urls["dagster"], **writer)
        )
        viewer = stack.enter_context(_viewer(folder / "viewer", urls, common))
        (folder / "door").mkdir()
        ports = [int(url.rpartition(":")[2]) for url in (dagster.url, viewer)]
        opened = stack.enter_context(door.opened(folder / "door", *ports))
        evil = stack.enter_context(_evil(folder / "evil"))
        yield Deployed(opened, dagster, urls["cops_viewer"], evil)


def _load(folder: Path, env: dict[str, str]) -> None:
    """The usual inputs, with the daemon's login: it adds what an owner made room for."""
    (folder / "inputs").mkdir()
    for name, text in INPUTS.items():
        (folder / "inputs" / f"{name}.csv").write_text(text)
    subprocess.run(
        [sys.executable, "-m", "cops_dagster.cli.start", "admin", "load", "inputs"],
        cwd=folder, check=True, capture_output=True,
        env={**os.environ, **env, "COPS_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _viewer(home: Path, urls: dict[str, str], common: dict[str, str]) -> AbstractContextManager[str]:
    """The viewers' webserver: logins that read, a home with nothing in it, no place of the ledger."""
    home.mkdir()
    (home / "dagster.yaml").write_bytes((ROOT / "deploy" / "dagster.yaml").read_bytes())
    env = {
        **os.environ, **common, "COPS_ADMIN_DB": urls["cops_viewer"], "COPS_HOME": str(home),
        "DAGSTER_HOME": str(home), "DAGSTER_POSTGRES_URL": urls["dagster_viewer"], "PYTHONPATH": str(ROOT),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    return webserver(home / "web", env, "--read-only")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def _evil(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = os.environ.get("COPS_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "Chromium is needed: apt-get install chromium, or COPS_TEST_CHROMIUM=/path/to/it"
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


def page_of(browser: Browser, who: tuple[str, str], origin: str) -> Page:
    """A page in the browser of somebody who is logged in at the door."""
    context = browser.new_context(
        ignore_https_errors=True, viewport={"width": 1400, "height": 1000},
        http_credentials={"username": who[0], "password": who[1]},
    )  # fmt: skip
    made = context.new_page()
    made.set_default_timeout(60_000)
    made.goto(f"{origin}/runs")
    return made


ASK = """async ([query, variables]) => (await (await fetch('/graphql', {method: 'POST',
  headers: {'Content-Type': 'application/json'}, body: JSON.stringify({query, variables})})).json()).data"""


def test_a_page_of_somebody_else_changes_nothing_and_reads_nothing(
    deployed: Deployed, browser: Browser
) -> None:
    operators = f"{NAME}:{deployed.door.operators}"
    page = page_of(browser, OPERATOR, f"https://{operators}")
    socket_opened: list[str] = []
    page.on("websocket", lambda one: one.on("framereceived", lambda _: socket_opened.append(one.url)))
    page.goto(f"{deployed.evil}/#{operators}")
    seen = page.evaluate("window.done")
    assert "socket: refused" in seen
    assert not [one for one in seen if one.startswith(("image", "json: 2")) or "open" in one], seen
    frames = [one for one in page.frames[1:] if "Runs" in (one.title() or "")]
    assert frames == []
    assert socket_opened == []
    assert deployed.dagster.runs() == []
    page.context.close()


def test_without_the_door_the_same_image_would_have_started_a_run(deployed: Deployed) -> None:
    """The attack is a real one: Dagster's webserver itself takes it."""
    with urllib.request.urlopen(
        f"{deployed.dagster.url}/graphql?query={quote(ATTACK)}", timeout=60
    ) as answer:
        assert "LaunchRunSuccess" in answer.read().decode()
    (run,) = deployed.dagster.runs()
    deployed.dagster.ended(run["runId"])


def test_an_operator_starts_a_run_and_sees_it_end(deployed: Deployed, browser: Browser) -> None:
    page = page_of(browser, OPERATOR, f"https://{NAME}:{deployed.door.operators}")
    page.get_by_text("Runs").first.wait_for()
    made = page.evaluate(ASK, [LAUNCH, {"p": PARAMS}])["launchRun"]
    assert made["__typename"] == "LaunchRunSuccess", made
    run = made["run"]["runId"]
    assert deployed.dagster.ended(run) == "SUCCESS", deployed.dagster.why(run)
    page.reload()
    page.get_by_text("Success").first.wait_for()  # through the websocket and calls of Dagster's own page
    page.context.close()
    ledger = find_admin(deployed.ledger)
    assert ledger
    with ledger.read() as con:
        assert con.exec_driver_sql("SELECT count(*) FROM publish_journal").scalar()
    ledger.close()


def test_a_viewer_looks_and_is_told_that_it_may_start_nothing(deployed: Deployed, browser: Browser) -> None:
    page = page_of(browser, VIEWER, f"https://{NAME}:{deployed.door.viewers}")
    page.get_by_text("Runs").first.wait_for()
    before = deployed.dagster.runs()
    made = page.evaluate(ASK, [LAUNCH, {"p": PARAMS}])["launchRun"]
    assert made["__typename"] == "UnauthorizedError", made
    assert deployed.dagster.runs() == before
    page.context.close()
