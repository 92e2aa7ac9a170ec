"""Object stores of evidence: written once, read with their digest, in a folder and over S3's HTTP."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from cops_dagster.errors import CopsError
from cops_dagster.stores import files
from cops_dagster.stores import objects as module
from cops_dagster.stores.aws.objects import S3Objects
from cops_dagster.stores.aws.s3 import ATTEMPTS
from cops_dagster.stores.objects import FolderObjects, Objects, Stored, key_of
from cops_dagster.stores.places import open_objects
from cops_dagster_tests.stores.s3_server import SECRET, Bucket, serving

HASH = "ab" * 32


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with serving(monkeypatch) as served:
        yield served


@pytest.fixture
def s3(bucket: Bucket) -> S3Objects:
    opened = open_objects("s3://proof/cops")
    assert isinstance(opened, S3Objects)
    return opened


@pytest.fixture
def folder(tmp_path: Path) -> FolderObjects:
    opened = open_objects(f"file:{tmp_path / 'evidence'}")
    assert isinstance(opened, FolderObjects)
    return opened


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Objects:
    found: Objects = request.getfixturevalue(request.param)
    return found


def code_of(problem: pytest.ExceptionInfo[CopsError]) -> str:
    assert SECRET not in str(problem.value.as_dict())
    return problem.value.code


# --- what both promise ----------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("data", [b"", b"proof", os.urandom(3 << 20)], ids=["empty", "small", "large"])
def test_bytes_and_files_are_stored_under_their_digest(store: Objects, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    stored = store.put(data)
    sha256 = hashlib.sha256(data).hexdigest()
    assert (stored.key, stored.sha256, stored.size_bytes) == (
        f"objects/{sha256[:2]}/{sha256}", sha256, len(data),
    )  # fmt: skip
    assert store.put_file(tmp_path / "source") == stored
    assert store.get(stored.key, stored.version_id) == data
    store.fetch(stored.key, tmp_path / "fetched", stored.version_id)
    assert (tmp_path / "fetched").read_bytes() == data
    assert store.verify(stored) == ("ok", f"{len(data)} bytes")


@pytest.mark.long
def test_a_file_that_changes_later_does_not_reach_the_object(store: Objects, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"as delivered")
    stored = store.put_file(tmp_path / "source")
    with (tmp_path / "source").open("r+b") as source:  # in place: a hard link would follow it
        source.write(b"OVERWRITTEN!")
    assert store.get(stored.key, stored.version_id) == b"as delivered"


def test_many_threads_that_store_the_same_bytes_store_them_once(store: Objects) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(store.put, [b"the same"] * 16))) == 1


def test_what_is_not_there_is_missing_and_incomplete(store: Objects, tmp_path: Path) -> None:
    key = key_of(HASH)
    for act in (lambda: store.get(key), lambda: store.fetch(key, tmp_path / "x"), lambda: store.named("x")):
        with pytest.raises(CopsError) as problem:
            act()
        assert code_of(problem) == "E-EVIDENCE-MISSING"
    assert store.verify(Stored(key, HASH, 1))[0] == "incomplete"


@pytest.mark.long
@pytest.mark.parametrize(
    "key", ["/etc/passwd", "objects/../../etc/passwd", f"objects/cd/{HASH}", f"objects/ab/{HASH}\n", ""]
)
def test_a_key_that_is_none_is_never_followed(store: Objects, tmp_path: Path, key: str) -> None:
    for act in (lambda: store.get(key), lambda: store.fetch(key, tmp_path / "x")):
        with pytest.raises(CopsError) as problem:
            act()
        assert code_of(problem) == "E-EVIDENCE-TAMPERED"
    assert store.verify(Stored(key, HASH, 1))[0] == "mismatch"


def test_another_valid_object_is_not_the_one_that_was_stored(store: Objects) -> None:
    one, other = store.put(b"one"), store.put(b"other")
    swapped = Stored(other.key, one.sha256, one.size_bytes, other.version_id)
    assert store.verify(swapped)[0] == "mismatch"
    wrong_size = Stored(one.key, one.sha256, one.size_bytes + 1, one.version_id)
    assert store.verify(wrong_size)[0] == "mismatch"


def test_a_name_is_given_once(store: Objects) -> None:
    store.name("seal-2025-09", key_of(HASH))
    store.name("seal-2025-09", key_of(HASH))
    with pytest.raises(CopsError) as problem:
        store.name("seal-2025-09", key_of("cd" * 32))
    assert code_of(problem) == "E-EVIDENCE-TAMPERED"
    store.name("seal-2025-0", key_of("cd" * 32))  # the beginning of another name is a name of its own
    assert store.named("seal-2025-09") == key_of(HASH)


def test_anchors_are_listed_oldest_first_and_written_once(store: Objects) -> None:
    assert store.anchors() == []
    for seq in (12, 3, 12, 100_000):
        store.anchor(seq, HASH)
    assert store.anchors() == [(3, HASH), (12, HASH), (100_000, HASH)]


def test_a_folder_says_when_an_anchor_was_written_by_its_own_clock(tmp_path: Path) -> None:
    store = FolderObjects(tmp_path)
    store.anchor(3, HASH)
    os.utime(tmp_path / "anchors" / f"{3:012d}-{HASH}", (86_400, 86_400))
    assert store.anchored_at(3, HASH) == datetime(1970, 1, 2)


def test_an_anchor_that_is_not_there_was_never_written(store: Objects) -> None:
    assert store.anchored_at(4, HASH) is None


# --- the folder -----------------------------------------------------------------------------------------


def test_an_object_is_read_only_and_nothing_half_written_stays(folder: FolderObjects) -> None:
    stored = folder.put(b"proof")
    path = folder.path(stored.key)
    assert path is not None
    assert path.stat().st_mode & 0o777 == path.parent.stat().st_mode & 0o444  # read by who reads the folder
    assert list((folder.root / "partial").iterdir()) == []


@pytest.mark.parametrize("change", [b"PROOF", b"pro", b""], ids=["replaced", "truncated", "emptied"])
def test_other_bytes_under_a_key_are_found_and_never_overwritten(
    folder: FolderObjects, tmp_path: Path, change: bytes
) -> None:
    stored = folder.put(b"proof")
    path = folder.root / stored.key
    path.unlink()
    path.write_bytes(change)
    assert folder.verify(stored)[0] == "mismatch"
    for act in (
        lambda: folder.put(b"proof"),
        lambda: folder.get(stored.key),
        lambda: folder.fetch(stored.key, tmp_path / "x"),
    ):
        with pytest.raises(CopsError) as problem:
            act()
        assert code_of(problem) == "E-EVIDENCE-TAMPERED"
    assert path.read_bytes() == change


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_file_is_incomplete_and_never_waited_for(folder: FolderObjects, kind: str) -> None:
    stored = folder.put(b"proof")
    path = folder.root / stored.key
    path.unlink()
    elsewhere = folder.root / "elsewhere"
    elsewhere.write_bytes(b"proof")
    {"folder": path.mkdir, "link": lambda: path.symlink_to(elsewhere), "pipe": lambda: os.mkfifo(path)}[
        kind
    ]()
    assert folder.verify(stored)[0] == "incomplete"
    with pytest.raises(CopsError) as problem:
        folder.get(stored.key)
    assert code_of(problem) == "E-EVIDENCE-MISSING"


def test_a_power_cut_before_the_link_leaves_no_object(
    folder: FolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "link", cut)
        with pytest.raises(CopsError) as problem:
            folder.put(b"proof")
    assert code_of(problem) == "E-DISK"
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []
    assert folder.verify(folder.put(b"proof"))[0] == "ok"


def test_bytes_and_names_are_made_durable_in_order(
    folder: FolderObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, link = os.fsync, os.link

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        done.append(path.name if path.is_dir() else "bytes")
        sync(handle)

    def linked(source: Path, target: Path) -> None:
        done.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", linked)
    stored = folder.put(b"proof")
    shard = stored.sha256[:2]
    assert done[-3:] == ["bytes", "link", shard]
    assert "objects" in done[:-3]  # the name of the new folder in the one above it
    done.clear()
    folder.put(b"proof")  # the other process that linked it may not have come to its fsync
    assert done == ["bytes", "link", shard]


def test_a_folder_that_cannot_be_used_is_a_coded_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = FolderObjects(tmp_path / "file" / "evidence")
    for act in (lambda: store.put(b"x"), lambda: store.anchor(1, HASH), store.anchors):
        with pytest.raises(CopsError) as problem:
            act()
        assert code_of(problem) == "E-EVIDENCE-STORE"


def test_a_file_that_cannot_be_read_is_a_coded_error(store: Objects, tmp_path: Path) -> None:
    with pytest.raises(CopsError) as problem:
        store.put_file(tmp_path / "nowhere")
    assert code_of(problem) == "E-EVIDENCE-STORE"
    assert "nowhere" in problem.value.subject


def test_strange_names_among_the_anchors_are_no_anchors(folder: FolderObjects) -> None:
    folder.anchor(1, HASH)
    for name in (".DS_Store", f"²-{HASH}", f"{2:012d}-short"):
        (folder.root / "anchors" / name).touch()
    assert folder.anchors() == [(1, HASH)]


def test_a_uri_opens_the_store_it_names(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in (str(tmp_path / "e"), f"file:{tmp_path / 'e'}", f"file://{tmp_path / 'e'}", "e"):
        opened = open_objects(uri)
        assert isinstance(opened, FolderObjects)
        assert opened.root == tmp_path / "e"
    for uri, prefix in (("s3://proof", ""), ("s3://proof/", ""), ("s3://proof/a/b/", "a/b/")):
        there = open_objects(uri)
        assert isinstance(there, S3Objects)
        assert (there.place.bucket, there.place.prefix) == ("proof", prefix)


@pytest.mark.parametrize("uri", ["gs://bucket/x", "s3:bucket", "s3://", "s3:///x", "", "file:", "http://x"])
def test_a_uri_of_no_store_is_refused(uri: str) -> None:
    with pytest.raises(CopsError) as problem:
        open_objects(uri)
    assert code_of(problem) == "E-SETTING"


# --- S3 -------------------------------------------------------------------------------------------------


def test_a_second_write_is_answered_by_412_and_compared(s3: S3Objects, bucket: Bucket) -> None:
    stored = s3.put(b"proof")
    assert (stored.version_id, s3.put(b"proof")) == ("v1", stored)
    bucket.on_top(f"cops/{stored.key}", b"PROOF")
    with pytest.raises(CopsError) as problem:
        s3.put(b"proof")
    assert code_of(problem) == "E-EVIDENCE-TAMPERED"


@pytest.mark.long
@pytest.mark.parametrize("on_top", [b"other bytes", None], ids=["newer version", "delete marker"])
def test_what_lies_on_top_of_a_version_does_not_matter(
    s3: S3Objects, bucket: Bucket, on_top: bytes | None
) -> None:
    stored = s3.put(b"proof")
    s3.name("seal-2025-09", stored.key)
    s3.anchor(7, HASH)
    for key in list(bucket.versions):
        bucket.on_top(key, on_top)
    assert s3.verify(stored)[0] == "ok"
    assert s3.get(stored.key, stored.version_id) == b"proof"
    assert s3.named("seal-2025-09") == stored.key
    assert s3.anchors() == [(7, HASH)]


def test_a_name_under_a_delete_marker_is_not_given_again(s3: S3Objects, bucket: Bucket) -> None:
    s3.name("seal-2025-09", key_of(HASH))
    bucket.on_top("cops/names/seal-2025-09", None)
    with pytest.raises(CopsError) as problem:
        s3.name("seal-2025-09", key_of("cd" * 32))
    assert code_of(problem) == "E-EVIDENCE-TAMPERED"


def test_a_version_that_is_gone_or_other_bytes_is_found(s3: S3Objects, bucket: Bucket) -> None:
    stored = s3.put(b"proof")
    bucket.versions[f"cops/{stored.key}"] = [("v1", b"PROOF")]
    assert s3.verify(stored)[0] == "mismatch"
    bucket.versions[f"cops/{stored.key}"] = [("v1", None), ("v2", b"proof")]
    assert s3.verify(stored) == ("incomplete", "MethodNotAllowed")
    bucket.versions[f"cops/{stored.key}"] = [("v2", b"proof")]
    assert s3.verify(stored) == ("incomplete", "NoSuchVersion")


@pytest.mark.long
@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "NoSuchBucket"])
def test_a_refusal_is_a_coded_error_without_the_words_of_aws(
    s3: S3Objects, bucket: Bucket, tmp_path: Path, code: str
) -> None:
    stored = s3.put(b"proof")
    (tmp_path / "file").write_bytes(b"x")
    bucket.always = (403, code)
    for act in (
        lambda: s3.put(b"x"), lambda: s3.put_file(tmp_path / "file"), lambda: s3.get(stored.key),
        lambda: s3.fetch(stored.key, tmp_path / "f"), lambda: s3.anchor(1, HASH), s3.anchors,
        lambda: s3.name("n", stored.key), lambda: s3.named("n"),
    ):  # fmt: skip
        with pytest.raises(CopsError) as problem:
            act()
        assert code_of(problem) == "E-EVIDENCE-STORE"
        assert code in problem.value.found
    assert s3.verify(stored) == ("incomplete", problem.value.found)


def test_a_store_that_does_not_answer_is_a_coded_error(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cops_dagster.stores.aws.s3.ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    with pytest.raises(CopsError) as problem:
        open_objects("s3://proof").put(b"x")
    assert (code_of(problem), problem.value.found) == ("E-EVIDENCE-STORE", "nobody listens there")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "no url")
    with pytest.raises(CopsError) as problem:
        open_objects("s3://proof").put(b"x")
    assert code_of(problem) == "E-EVIDENCE-STORE"


def test_throttling_and_conflicts_are_tried_again(s3: S3Objects, bucket: Bucket) -> None:
    bucket.failures = [(503, "SlowDown"), (409, "ConditionalRequestConflict")]
    assert s3.verify(s3.put(b"proof"))[0] == "ok"
    assert sum(call.startswith("PUT") for call in bucket.calls) == 3


def test_a_conflict_without_end_is_given_up(s3: S3Objects, bucket: Bucket) -> None:
    bucket.always = (409, "ConditionalRequestConflict")
    with pytest.raises(CopsError) as problem:
        s3.put(b"proof")
    assert code_of(problem) == "E-EVIDENCE-STORE"
    assert len(bucket.calls) == ATTEMPTS


def test_a_write_whose_answer_was_lost_is_found_done(s3: S3Objects, bucket: Bucket) -> None:
    sha256 = hashlib.sha256(b"proof").hexdigest()
    bucket.on_top(f"cops/{key_of(sha256)}", b"proof")  # written, then 500: the second try is answered by 412
    bucket.failures = [(500, "InternalError")]
    assert s3.put(b"proof") == Stored(key_of(sha256), sha256, 5, "v1")


def test_bytes_that_change_on_the_way_are_refused(
    s3: S3Objects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"as delivered")

    def then_it_changes(blocks: Iterator[bytes]) -> tuple[str, int]:
        found = files.digested(blocks)
        (tmp_path / "file").write_bytes(b"OVERWRITTEN!")
        return found

    monkeypatch.setattr("cops_dagster.stores.aws.objects.digested", then_it_changes)
    for largest in (1 << 30, 1):
        (tmp_path / "file").write_bytes(b"as delivered")
        monkeypatch.setattr("cops_dagster.stores.aws.s3.WHOLE_MAX", largest)
        with pytest.raises(CopsError) as problem:
            s3.put_file(tmp_path / "file")
        assert code_of(problem) == "E-EVIDENCE-STORE"
    assert (bucket.versions, bucket.parts) == ({}, {})


def test_a_large_file_goes_in_parts_and_once(
    s3: S3Objects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cops_dagster.stores.aws.s3.WHOLE_MAX", 1000)
    monkeypatch.setattr("cops_dagster.stores.aws.s3.PART", 700)
    (tmp_path / "file").write_bytes(data := os.urandom(2000))
    stored = s3.put_file(tmp_path / "file")
    assert sum("POST" in call for call in bucket.calls) == 2
    assert s3.put_file(tmp_path / "file") == stored  # 412 at the end
    assert s3.get(stored.key, stored.version_id) == data
    assert [len(found) for found in bucket.versions.values()] == [1]
