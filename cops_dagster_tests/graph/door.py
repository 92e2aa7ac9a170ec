"""The shipped door as a running nginx: its own files, with other ports, names and passwords put in."""

from __future__ import annotations

import base64
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cops_dagster_tests.docs.pages import ROOT
from cops_dagster_tests.graph.instance import until

NAME = "localhost"
OPERATOR, VIEWER = ("olga", "opens-all"), ("vera", "views-all")
_PLAIN = """
{user}daemon off;
pid {folder}/nginx.pid;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/upstream.conf;
    include {folder}/cops.conf;
}}
"""


@dataclass(frozen=True)
class Door:
    """A running door, by its two ports."""

    operators: int
    viewers: int

    def ask(
        self,
        method: str,
        path: str,
        *headers: tuple[str, str],
        body: bytes | None = None,
        port: int | None = None,
        host: str | None = None,
        who: tuple[str, str] | None = OPERATOR,
    ) -> http.client.HTTPResponse:
        """An answer to a request with exactly these headers; `body` and password are added to them."""
        there = port or self.operators
        con = http.client.HTTPSConnection("127.0.0.1", there, timeout=20, context=_trusting())
        con.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent = [("Host", host or f"{NAME}:{there}"), *headers]
        if who:
            sent.append(("Authorization", "Basic " + base64.b64encode(":".join(who).encode()).decode()))
        if body is not None:
            sent.append(("Content-Length", str(len(body))))
        for name, value in sent:
            con.putheader(name, value)
        con.endheaders(body)
        answer = con.getresponse()
        if answer.status != 101:
            answer.read()
        con.close()
        return answer

    @property
    def ours(self) -> tuple[str, str]:
        """The header that a page of the operators' door sends."""
        return "Origin", f"https://{NAME}:{self.operators}"


@cache
def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def opened(folder: Path, webserver: int, viewer: int) -> Iterator[Door]:
    """nginx with what `deploy/nginx` ships, in front of two ports of this machine."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert nginx, "nginx is needed: apt-get install nginx-light"
    operators, viewers = free_ports(2)
    _write(folder, operators, viewers, webserver, viewer)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1",
         "-keyout", folder / "cops.key", "-out", folder / "cops.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-p", folder, "-e", folder / "errors", "-c", folder / "nginx.conf"],
            stdout=log,
            stderr=log,
        )
        try:
            until(lambda: process.poll() is not None or _listens(operators), 20)
            assert process.poll() is None, (folder / "nginx.log").read_text(encoding="utf-8")
            yield Door(operators, viewers)
        finally:
            process.terminate()
            process.wait(20)


def _write(folder: Path, operators: int, viewers: int, webserver: int, viewer: int) -> None:
    shipped = ROOT / "deploy" / "nginx"
    conf = (shipped / "cops.conf").read_text(encoding="utf-8").replace("/etc/nginx/door", str(folder))
    conf = re.sub(r"listen 443\b", f"listen 127.0.0.1:{operators}", conf)
    conf = re.sub(r"listen 8443\b", f"listen 127.0.0.1:{viewers}", conf)
    (folder / "cops.conf").write_text(conf.replace("cops.example.com", NAME))
    there = (shipped / "upstream.conf").read_text(encoding="utf-8")
    (folder / "upstream.conf").write_text(
        there.replace(":3000", f":{webserver}").replace(":3001", f":{viewer}")
    )
    for name, (user, password) in (("operators", OPERATOR), ("viewers", VIEWER)):
        (folder / name).write_text(f"{user}:{{PLAIN}}{password}\n")
    user = "user root;\n" if os.getuid() == 0 else ""  # the folders of a test are for its user alone
    (folder / "nginx.conf").write_text(_PLAIN.format(folder=folder, user=user))


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
