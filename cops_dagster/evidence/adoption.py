"""Adopting a policy with its proof: by the first run or by a person (ADR 26).

Belongs here: the refusal of an act whose settings say something else, what adopting would change. Does not
belong here: asking again as a run is published (`ledger/publish.py`), versions (`stores/policies.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.evidence import chain, documents, signatures, signed_decisions
from cops_dagster.evidence.chain import Piece
from cops_dagster.ledger.books import Books
from cops_dagster.policy import NAMES, Difference, Policy, differing, nested
from cops_dagster.stores import policies
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.stores.policies import Adopted

Given = Mapping[str, tuple[Any, str]]
"""Values that are set, by dotted name: the value, and where it was given."""


@dataclass(frozen=True)
class Adoption:
    """Outcome: the version in force, what changed, whether this call made it, who did, by what proof."""

    version: int
    changes: list[Difference]
    wrote: bool
    adopted_by: str
    adopted_at: datetime
    identity: str


def require_policy(books: Books, *, is_run: bool = False) -> None:
    """Refuses an act whose settings differ from the policy; every act of the ledger begins with it.

    The first run adopts what the settings say, and until a month has been tagged a run adopts what they say
    now: nothing was decided under what stood before.

    Args:
        is_run: the act is part of a run that makes entries.

    Raises:
        CopsError: `E-POLICY` with both values of every setting that differs, and where it was given.
    """
    adopted, given = books.look_up_policy(), books.settings.given_policy
    if adopted is None and not is_run and not _has_runs(books):
        return
    stands = _standing(books, adopted)
    found = differing(stands or Policy(), given)
    if found and (stands is None or (_is_first(adopted) and not _has_runs(books, "fact_cost_tagged"))):
        if not is_run:
            return
        _append(books, adopted, (stands or Policy()).replaced(_values(given)), _FIRST_RUN, found, None)
    elif found:
        raise _refused(found, adopted)
    elif adopted is None:
        _append(books, None, stands or Policy(), _FIRST_RUN, [], None)
    else:
        return
    books.look_up_policy()
    if found := differences(books):  # another process was faster, with other settings
        raise _refused(found, books.adopted)


def differences(books: Books) -> list[Difference]:
    """What is set here and is not what is in force; empty in books that follow no policy yet."""
    adopted = books.adopted
    return differing(adopted.policy, books.settings.given_policy) if adopted else []


def told(found: list[Difference]) -> str:
    """Differences in one line."""
    return "; ".join(f"{one.name} is {one.adopted}, {one.origin} says {one.given}" for one in found)


def _refused(found: list[Difference], adopted: Adopted | None) -> CopsError:
    since = (
        f"policy version {adopted.version}, adopted by {adopted.adopted_by} "
        f"{adopted.adopted_at:%Y-%m-%d %H:%M} UTC"
        if adopted
        else "what the newest run was made with"
    )
    return CopsError(
        "E-POLICY",
        "settings that decide numbers",
        expected="; ".join(f"{one.name} = {one.adopted}" for one in found) + f" ({since})",
        found="; ".join(f"{one.name} = {one.given} ({one.origin})" for one in found),
        next_step="`cops policy diff`; correct the setting, or `cops policy adopt` if the change is meant",
        details={"differences": [asdict(one) for one in found]},
    )


def compare(books: Books, given: Given) -> list[Difference]:
    """What would change if these values were adopted."""
    return differing(_standing(books, books.look_up_policy()) or Policy(), given)


def adopt(books: Books, given: Given, *, origin: str, note: str | None = None) -> Adoption:
    """Makes these values those in force, the others stay; open months follow with their next run.

    Args:
        origin: where they were taken from, for people.

    Raises:
        CopsError: `E-CONTENTION` when somebody else adopted another policy meanwhile; `E-SETTING` when the
            values together are no policy.
    """
    adopted = books.look_up_policy()
    try:
        stands = _standing(books, adopted) or Policy()
    except CopsError as problem:  # a person may decide where the proof of earlier runs is lost
        if problem.code != "E-EVIDENCE-MISSING":
            raise
        stands = Policy()
    changes = differing(stands, given)
    if adopted and not changes:
        return _adoption(books, adopted, [], wrote=False)
    if not _append(books, adopted, stands.replaced(_values(given)), origin, changes, note):
        first = books.look_up_policy()
        assert first is not None
        if not differing(first.policy, given):  # somebody was faster, and meant the same
            return _adoption(books, first, [], wrote=False)
        raise CopsError(
            "E-CONTENTION",
            "policy",
            expected="one adoption at a time",
            found=f"version {first.version}, adopted meanwhile by {first.adopted_by}"
            f" {first.adopted_at:%Y-%m-%d %H:%M} UTC, with other values",
            next_step="look again: `cops policy diff`",
        )
    made = books.look_up_policy()
    assert made is not None
    return _adoption(books, made, changes, wrote=True)


def _adoption(books: Books, adopted: Adopted, changes: list[Difference], *, wrote: bool) -> Adoption:
    with books.admin.read() as con:
        identity = signatures.told(con, "policy", ("policy", str(adopted.version)))
    return Adoption(adopted.version, changes, wrote, adopted.adopted_by, adopted.adopted_at, identity)


def _append(
    books: Books,
    before: Adopted | None,
    policy: Policy,
    origin: str,
    changes: list[Difference],
    note: str | None,
) -> bool:
    """Appends a version with its proof; `False` when another one is in force than `before` by now."""
    version, at = (before.version if before else 0) + 1, now()
    with books.admin.read() as con:
        identity = signatures.identity(books, con)
    document = {
        "version": version, "policy": nested(policy.values), "origin": origin, "note": note,
        "adopted_by": books.actor, "identity": identity, "adopted_at": documents.plain(at),
        "changes": [asdict(one) for one in changes],
    }  # fmt: skip
    kept = chain.store(
        books,
        [Piece("policy", "policy", str(version), "application/json", data=documents.document(document))],
    )
    with books.admin.write() as con:
        if policies.newest_version(con) != (before.version if before else None):
            return False
        proof = chain.index(con, books, kept)[0]
        policies.append(con, policy, by=books.actor, at=at, origin=origin, note=note, evidence_id=proof)
        decided = signed_decisions.of_policy(policy.as_json)
        signatures.require(books, con, "policy", ("policy", str(version)), decided)
    return True


def _standing(books: Books, adopted: Adopted | None) -> Policy | None:
    """What counts: the policy in force, else what the newest run was made with; `None` for neither."""
    if adopted is not None:
        return adopted.policy
    entries = t.evidence_index
    with books.admin.read() as con:
        seq = con.execute(
            sa.select(sa.func.max(entries.c.evidence_seq)).where(entries.c.kind == "run_inputs")
        ).scalar_one()
    if seq is None:
        return None
    inputs = json.loads(chain.read(books, seq))
    unsaid = {  # the first versions recorded some sections only: of the others nobody knows better
        name: value
        for name, (value, _) in books.settings.given_policy.items()
        if name.partition(".")[0] not in inputs["settings"]
    }
    return recorded(inputs).replaced(unsaid)


def recorded(inputs: Mapping[str, Any]) -> Policy:
    """The policy that a `run_inputs` document says its run was made under."""
    given = {
        f"{section}.{name}": value
        for section, settings in inputs["settings"].items()
        for name, value in settings.items()
        if f"{section}.{name}" in NAMES
    }
    return Policy().replaced(given)


_FIRST_RUN = "first run"


def _is_first(adopted: Adopted | None) -> bool:
    """No person adopted it: a run took what the settings said."""
    return adopted is not None and adopted.origin == _FIRST_RUN


def _has_runs(books: Books, table: str | None = None) -> bool:
    journal = t.publish_journal
    query = sa.select(journal.c.journal_seq).limit(1)
    with books.admin.read() as con:
        return con.execute(query.where(journal.c.table_name == table) if table else query).first() is not None


def _values(given: Given) -> dict[str, Any]:
    return {name: value for name, (value, _) in given.items()}
