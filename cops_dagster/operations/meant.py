"""Which name was likely meant, where a refusal misses one: a tenant, plan, key, rule, or an id.

Belongs here: per code the names that the books know, and a word beside the refusal's own next step. Does not
belong here: which codes there are and who raises them (the steps), how alike two words are (`words.py`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger.books import Books
from cops_dagster.operations.all_checks import NAMED
from cops_dagster.stores import tables as t
from cops_dagster.words import near

_ID_ALIKE_PCT = 80
"""Two digests share half their letters by chance; a typing error changes one or two of many."""
_ID_SHOWN = 16
_IDS_MAX = 100_000

_QUOTED = re.compile(r"'([^']*)'")

Known = Callable[[sa.Connection], list[str]]


def hinted(books: Books, refusal: CopsError) -> CopsError:
    """The refusal with what was likely meant before its next step; as it was where nothing is alike."""
    typed, known, is_id = _missed(refusal)
    if not typed or known is None:
        return refusal
    with books.admin.read() as con:
        names = known(con)
        called = _called(con) if known is _NAMES["E-TENANT-UNKNOWN"] else {}
    if typed in names:
        return refusal
    if is_id:
        shown = max(len(typed), _ID_SHOWN)
        cut = {name[: len(typed)].casefold(): name for name in names}
        found = near(typed, cut, alike_pct=_ID_ALIKE_PCT)
        meant = cut[found][:shown] if found else None
    else:  # a name in full says more than an id that is alike
        named = near(typed, called)
        is_name = named is not None and named.strip().casefold() == typed.strip().casefold()
        meant = (
            called[named] if named and is_name else near(typed, names) or (called[named] if named else None)
        )
    if meant is None or meant == typed:
        return refusal
    return CopsError(
        refusal.code,
        refusal.subject,
        expected=refusal.expected,
        found=refusal.found,
        next_step=f"did you mean {meant}? else: {refusal.next_step}",
        details=refusal.details,
    )


def alert_rule(books: Books, typed: str) -> str | None:
    """The alert rule that was likely meant, "" where none is alike; `None` of one that is known."""
    with books.admin.read() as con:
        known = {*NAMED, *_column("alert_state", "alert_rule")(con)}
    return None if typed in known else near(typed, known) or ""


def _missed(refusal: CopsError) -> tuple[str, Known | None, bool]:
    """What was typed, where such names stand, and whether it is an id, of which a beginning is enough."""
    said = refusal.found if refusal.found.startswith("'") else refusal.subject
    quoted, code = _QUOTED.search(said), refusal.code
    if quoted is None:
        tenant, _, month = refusal.subject.rpartition(" in ")
        is_tenant = code == "E-ENTRY-UNKNOWN" and bool(month)
        return (tenant, _NAMES["E-TENANT-UNKNOWN"], False) if is_tenant else ("", None, False)
    typed = quoted[1]
    if code == "E-RULE-METHOD" and typed.startswith("rule:"):
        return typed.removeprefix("rule:"), _column("allocation_rules", "rule_id"), False
    return typed, _IDS.get(code) or _NAMES.get(code), code in _IDS


def _column(table: str, column: str) -> Known:
    """The values of a column, each once."""

    def known(con: sa.Connection) -> list[str]:
        values = t.metadata.tables[table].c[column]
        found = con.execute(sa.select(values).where(values.is_not(None)).distinct().limit(_IDS_MAX))
        return sorted(found.scalars())

    return known


def _called(con: sa.Connection) -> dict[str, str]:
    """Id of each tenant by its name, which people type for it; a name of two tenants means neither."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in con.execute(sa.select(t.tenants.c.name, t.tenants.c.tenant_id).limit(_IDS_MAX)):
        found[row.name].append(row.tenant_id)
    return {name: ids[0] for name, ids in found.items() if len(set(ids)) == 1}


def _waiting(con: sa.Connection) -> list[str]:
    """What `cops approve` and `cops exceptions decide` take."""
    return [
        *_column("cur_delivery_hold", "delivery_id")(con),
        *_column("adjustment", "adjustment_id")(con),
        *_column("recon_exceptions", "exception_id")(con),
        *_column("close_request", "subject_id")(con),
    ]


_NAMES: Mapping[str, Known] = {
    "E-TENANT-UNKNOWN": _column("tenants", "tenant_id"),
    "E-PLAN-UNKNOWN": _column("plans", "plan_id"),
    "E-KEY-UNKNOWN": _column("allocation_keys", "key_name"),
    "E-SOURCE-NAME": _column("cur_delivery", "source_id"),
}
_IDS: Mapping[str, Known] = {
    "E-APPROVAL-UNKNOWN": _waiting,
    "E-ALERT-UNKNOWN": _column("alert_state", "fingerprint"),
    "E-DELIVERY-UNKNOWN": _column("cur_delivery", "delivery_id"),
    "E-REV": _column("publish_journal", "run_id"),
    "E-RUN-UNKNOWN": _column("publish_journal", "run_id"),
}
