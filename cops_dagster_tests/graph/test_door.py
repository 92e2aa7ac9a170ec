"""What the door lets through, request by request: the shipped nginx in front of a server that notes all.

What a page of somebody else can make a browser send is refused, and each refusal has its allowed twin.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cops_dagster_tests.graph.door import NAME, VIEWER, Door, opened

Header = tuple[str, str]
EVIL = ("Origin", "https://evil.example")
JSON = ("Content-Type", "application/json")
CALL = b'{"query": "mutation { x }"}'
SOCKET = (
    ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
)  # fmt: skip


def fetched(site: str, mode: str = "cors", dest: str = "empty") -> tuple[Header, ...]:
    return ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Dest", dest)


class Behind:
    """What came through, request by request."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, list[tuple[str, str]]]] = []


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[Behind, int]]:
    noted = Behind()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            noted.seen.append((self.command, self.path, self.headers.items()))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(101 if self.headers.get("Upgrade") else 200)
            if self.headers.get("Upgrade"):
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "upgrade")
                self.close_connection = True
            self.send_header("Set-Cookie", "id=1")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield noted, server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def door(behind: tuple[Behind, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with opened(tmp_path_factory.mktemp("door"), behind[1], behind[1]) as made:
        yield made


QUERY = "/graphql?query=mutation%7BlaunchRun%7D"
ATTACKS: dict[str, tuple[int, str, str, tuple[Header, ...], bytes | None]] = {
    "an image": (405, "GET", QUERY, fetched("cross-site", "no-cors", "image"), None),
    "an image of an old browser": (405, "GET", QUERY, (), None),
    "a link to a mutation": (405, "GET", QUERY, fetched("cross-site", "navigate", "document"), None),
    "a mutation by HEAD": (405, "HEAD", QUERY, (), None),
    "another spelling of the path": (405, "GET", "/%67raphql?query=x", (), None),
    "a path with two slashes": (405, "GET", "//graphql?query=x", (), None),
    "a path with dots": (405, "GET", "/a/../graphql?query=x", (), None),
    "a path with a slash behind": (405, "GET", "/graphql/?query=x", (), None),
    "a form": (403, "POST", QUERY, (EVIL, ("Content-Type", "text/plain"), *fetched("cross-site")), b"x=1"),
    "a form of our own page": (415, "POST", QUERY, (("Content-Type", "text/plain"),), b"x=1"),
    "a form with fields": (
        415, "POST", "/graphql", (("Content-Type", "application/x-www-form-urlencoded"),), b"query=x"),
    "an upload": (415, "POST", "/graphql", (("Content-Type", "multipart/form-data; boundary=b"),), b"--b--"),
    "bare GraphQL": (415, "POST", "/graphql", (("Content-Type", "application/graphql"),), b"mutation{x}"),
    "no type": (415, "POST", "/graphql", (), CALL),
    "a type that contains JSON": (
        415, "POST", "/graphql", (("Content-Type", "text/plain; x=application/json"),), CALL),
    "a list of types": (415, "POST", "/graphql", (("Content-Type", "application/json, text/plain"),), CALL),
    "two types": (415, "POST", "/graphql", (("Content-Type", "text/plain"), JSON), CALL),
    "JSON from another site": (403, "POST", "/graphql", (EVIL, JSON), CALL),
    "JSON from another site, by Sec-Fetch alone": (
        403, "POST", "/graphql", (JSON, *fetched("cross-site")), CALL),
    "JSON from a sister site": (403, "POST", "/graphql", (JSON, *fetched("same-site")), CALL),
    "JSON from nowhere": (403, "POST", "/graphql", (("Origin", "null"), JSON), CALL),
    "JSON from our name by http": (403, "POST", "/graphql", (("Origin", f"http://{NAME}"), JSON), CALL),
    "JSON from our name at another port": (
        403, "POST", "/graphql", (("Origin", f"https://{NAME}:1"), JSON), CALL),
    "JSON from a name that begins like ours": (
        403, "POST", "/graphql", (("Origin", f"https://{NAME}.evil.example"), JSON), CALL),
    "JSON from another site that claims to be ours": (
        403, "POST", "/graphql", (EVIL, JSON, *fetched("same-origin")), CALL),
    "the question before a call": (
        405, "OPTIONS", "/graphql", (EVIL, ("Access-Control-Request-Method", "POST")), None),
    "an asset's event": (405, "POST", "/report_asset_materialization/x", (JSON,), b"{}"),
    "a put": (405, "PUT", "/graphql", (JSON,), CALL),
    "a delete": (405, "DELETE", "/runs", (), None),
    "a frame": (403, "GET", "/runs", fetched("cross-site", "navigate", "iframe"), None),
    "a frame of a sister site": (403, "GET", "/runs", fetched("same-site", "navigate", "iframe"), None),
    "an object": (403, "GET", "/runs", fetched("cross-site", "navigate", "object"), None),
    "a script": (403, "GET", "/server_info", fetched("cross-site", "no-cors", "script"), None),
    "a page read by another page": (403, "GET", "/server_info", (EVIL, *fetched("cross-site")), None),
    "a socket of another site": (403, "GET", "/graphql", (*SOCKET, EVIL), None),
    "a socket of nobody": (403, "GET", "/graphql", SOCKET, None),
    "a socket from nowhere": (403, "GET", "/graphql", (*SOCKET, ("Origin", "null")), None),
    "a socket by another protocol": (
        405, "GET", "/graphql", (("Upgrade", "h2c"), ("Connection", "Upgrade")), None),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_another_site_can_make_a_browser_send_does_not_come_through(
    door: Door, behind: tuple[Behind, int], attack: str
) -> None:
    status, method, path, headers, body = ATTACKS[attack]
    before = len(behind[0].seen)
    assert door.ask(method, path, *headers, body=body).status == status
    assert len(behind[0].seen) == before


def allowed(door: Door) -> dict[str, tuple[str, str, tuple[Header, ...], bytes | None]]:
    return {
        "our page's call": ("POST", "/graphql", (door.ours, JSON, *fetched("same-origin")), CALL),
        "our page's call in an old browser": ("POST", "/graphql", (door.ours, JSON), CALL),
        "a program's call": ("POST", "/graphql", (JSON,), CALL),
        "a call with its encoding": (
            "POST", "/graphql", (("Content-Type", "Application/JSON; charset=UTF-8"),), CALL),
        "our page's socket": ("GET", "/graphql", (*SOCKET, door.ours), None),
        "our page's socket, told twice": (
            "GET", "/graphql", (*SOCKET, door.ours, *fetched("same-origin")), None),
        "an address bar": ("GET", "/runs", fetched("none", "navigate", "document"), None),
        "a link in a mail": ("GET", "/runs", fetched("cross-site", "navigate", "document"), None),
        "a script of our page": ("GET", "/a.js", fetched("same-origin", "no-cors", "script"), None),
        "a program's look": ("GET", "/server_info", (), None),
        "a look without a body": ("HEAD", "/", (), None),
    }  # fmt: skip


def test_what_our_own_page_and_programs_send_comes_through(door: Door, behind: tuple[Behind, int]) -> None:
    for name, (method, path, headers, body) in allowed(door).items():
        before = len(behind[0].seen)
        status = door.ask(method, path, *headers, body=body).status
        assert status == (101 if "socket" in name else 200), name
        assert len(behind[0].seen) == before + 1, name


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", f"{NAME}.evil.example", f"evil.example:443 {NAME}"]
)
def test_another_name_leads_nowhere(door: Door, behind: tuple[Behind, int], host: str) -> None:
    """A name that somebody else made lead here (DNS rebinding) is not ours, whatever its page sends."""
    before = len(behind[0].seen)
    answer = door.ask("POST", "/graphql", ("Origin", f"https://{host}"), JSON, body=CALL, host=host)
    assert answer.status in (400, 421)
    assert len(behind[0].seen) == before


def test_two_names_are_refused(door: Door, behind: tuple[Behind, int]) -> None:
    before = len(behind[0].seen)
    answer = door.ask("POST", "/graphql", ("Host", "evil.example"), EVIL, JSON, body=CALL)
    assert answer.status == 400
    assert len(behind[0].seen) == before


def test_a_call_of_one_megabyte_is_enough(door: Door) -> None:
    assert door.ask("POST", "/graphql", JSON, body=b" " * (1 << 20)).status == 200
    assert door.ask("POST", "/graphql", JSON, body=b" " * (1 << 20) + b" ").status == 413


def test_the_two_doors_ask_for_their_own_passwords(door: Door) -> None:
    for port, right, wrong in ((door.operators, None, VIEWER), (door.viewers, VIEWER, None)):
        asked: Any = {"port": port}
        assert door.ask("GET", "/runs", **asked, **({"who": right} if right else {})).status == 200
        assert door.ask("GET", "/runs", **asked, **({"who": wrong} if wrong else {})).status == 401
        assert door.ask("GET", "/runs", **asked, who=None).status == 401
    assert (
        door.ask("POST", "/graphql", door.ours, JSON, body=CALL, port=door.viewers, who=VIEWER).status == 403
    )


def test_every_answer_forbids_frames_and_sets_no_cookie(door: Door) -> None:
    for method, path, who in (("GET", "/runs", True), ("GET", "/runs", False), ("GET", "/graphql", True)):
        answer = door.ask(method, path, **({} if who else {"who": None}))  # type: ignore[arg-type]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Strict-Transport-Security"]
        assert answer.headers["Set-Cookie"] is None
        assert answer.headers["Access-Control-Allow-Origin"] is None


def test_dagster_sees_no_password_no_cookie_and_one_type(door: Door, behind: tuple[Behind, int]) -> None:
    door.ask("POST", "/graphql", JSON, ("Content-Type", "text/plain"), ("Cookie", "a=b"), body=CALL)
    door.ask("GET", "/runs", ("Upgrade", "h2c"), ("Connection", "Upgrade, X"), ("X-Forwarded-For", "1.2.3.4"))
    (_, _, call), (_, _, look) = behind[0].seen[-2:]
    assert [value for name, value in call if name == "Content-Type"] == ["application/json"]
    assert not {"Authorization", "Cookie", "Upgrade"} & {name for name, _ in call + look}
    assert dict(look)["Connection"] == "close"
    assert dict(look)["X-Forwarded-For"] == "127.0.0.1"


def test_both_doors_have_the_same_rules() -> None:
    from cops_dagster_tests.docs.pages import ROOT

    text = (ROOT / "deploy" / "nginx" / "cops.conf").read_text(encoding="utf-8")
    _, _, operators, viewers = text.split("\nserver {")
    for ours, theirs in (("8443", "443"), ("viewers", "operators"), ("cops_viewer", "cops_webserver")):
        viewers = viewers.replace(ours, theirs)
    assert viewers.strip() == operators.strip()
