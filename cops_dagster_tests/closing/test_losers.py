"""Who comes second is told so: who was first, and when; nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.alerts.lifecycle import Observation
from cops_dagster.closing import approve, close, sealing
from cops_dagster.evidence import adoption, chain
from cops_dagster.ledger.books import Books
from cops_dagster.reconciliation import freeze
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster_tests.closing.ready import close_by_two, ready
from cops_dagster_tests.deliveries import SEPTEMBER, home


def acting_as(books: Books, actor: str) -> Books:
    return replace(books, settings=books.settings.model_copy(update={"actor": actor}))


def first_of_all(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """Lets another process do something right before the first call of a function."""
    real, waiting = getattr(owner, name), [act]

    def late(*args: Any, **kwargs: Any) -> Any:
        if waiting:
            waiting.pop()()
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, late)


def test_of_two_who_take_an_alert_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    books, at = home(tmp_path, inputs=None), now()
    with books.admin.write() as con:
        (alert,) = board.observe(
            con, [Observation("r", "s", SEPTEMBER, "P2", True, at, at, "title")], actor="t"
        )
    first = board.acknowledge(acting_as(books, "kim"), alert.fingerprint)
    second = board.acknowledge(acting_as(books, "lee"), alert.fingerprint)
    assert (second.acked_by, second.ack_expires_at) == ("kim", first.ack_expires_at)
    assert board.acknowledge(acting_as(books, "kim"), alert.fingerprint).acked_by == "kim"
    with books.admin.read() as con:
        actors = con.execute(
            sa.select(t.alert_event.c.actor).where(t.alert_event.c.event == "acknowledged")
        ).scalars()
        assert list(actors) == ["kim", "kim"]


def test_of_two_who_adopt_the_same_policy_the_second_is_told_who_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser was refused for another policy, which was the one that it meant."""
    books = home(tmp_path, inputs=None, recon={"failure_usd": 5})
    given = books.settings.given_policy
    other = replace(acting_as(home(tmp_path, inputs=None, recon={"failure_usd": 5}), "kim"), _read=[])
    first_of_all(monkeypatch, chain, "store", lambda: adoption.adopt(other, given, origin="there"))
    done = adoption.adopt(books, given, origin="here")
    assert (done.wrote, done.adopted_by, done.changes) == (False, "kim", [])
    again = adoption.adopt(books, given, origin="here")
    assert (again.wrote, again.adopted_by, again.version) == (False, "kim", done.version)


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    """Books with a frozen month that reconciles again."""
    books = home(tmp_path, inputs=None)
    monkeypatch.setattr(freeze, "_require_passing", lambda *_: None)
    with books.admin.write() as con:
        freeze.put(con, books, SEPTEMBER, cause="c:1", reason="failed")
    return books


def test_of_two_who_ask_for_a_release_the_first_one_stands(frozen: Books) -> None:
    for actor in ("kim", "lee"):
        asked = freeze.request_release(acting_as(frozen, actor), SEPTEMBER, reason=actor, evidence="T-1")
        assert asked == {"freeze-1": actor == "kim"}
    with frozen.admin.read() as con:
        (row,) = freeze.of(con, SEPTEMBER)
    assert (row.release_requested_by, row.release_reason) == ("kim", "kim")


def test_of_two_who_approve_the_second_is_told_whose_yes_counts(
    frozen: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were told that they had approved, or one met the database's own refusal."""
    freeze.request_release(acting_as(frozen, "kim"), SEPTEMBER, reason="sent anew", evidence="T-1")
    release = approve._ACTS[approve.FREEZE]

    def late(*given: Any) -> approve.Approved:
        monkeypatch.setitem(approve._ACTS, approve.FREEZE, release)
        approve.approve(acting_as(frozen, "lee"), "freeze-1", reason="seen")
        return release(*given)

    monkeypatch.setitem(approve._ACTS, approve.FREEZE, late)
    done = approve.approve(acting_as(frozen, "max"), "freeze-1", reason="seen too")
    assert (done.was_new, done.approved_by) == (False, "lee")
    assert done.approved_at is not None


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.long
def test_of_two_who_close_the_second_is_told_who_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = ready(tmp_path)
    won: list[close.Closed] = []
    first_of_all(monkeypatch, sealing, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        close_by_two(books)
    first_of_all(
        monkeypatch, sealing, "finish",
        lambda: won.append(close.close(acting_as(books, "kim"), SEPTEMBER)),
    )  # fmt: skip
    lost = close.close(acting_as(books, "lee"), SEPTEMBER)
    assert won[0].wrote
    assert (lost.wrote, lost.closed_by, lost.seal_digest) == (False, "kim", won[0].seal_digest)
