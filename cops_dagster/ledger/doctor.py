"""The quick diagnostic path: six questions about a month, each answered with figure, query and next step.

Belongs here: asking, in the playbook's order, and recording the reconciliation snapshot before anybody
changes anything. Does not belong here: what to do about a finding (`rules/diagnosis.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise

import sqlalchemy as sa

from cops_dagster.errors import CopsError
from cops_dagster.ledger import (
    allocate,
    deliver,
    evidence,
    freeze,
    judge,
    judge_delivery,
    lock,
    recon_log,
    reconcile,
    repair,
    standing,
    state,
    watch,
)
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.publish import head
from cops_dagster.period import Period
from cops_dagster.rules.diagnosis import STEPS, SYMPTOMS, Finding, Step, of_closed_month, of_verdict
from cops_dagster.rules.verdicts import Verdict
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now


def diagnose(books: Books, period: Period, symptom: str | None = None) -> list[Finding]:
    """The six steps of a month, or those that find the cause of a symptom.

    Raises:
        CopsError: `E-PARAM` for a symptom that the playbook does not have.
    """
    if symptom is not None and symptom not in SYMPTOMS:
        raise CopsError(
            "E-PARAM", f"symptom {symptom!r}", expected=", ".join(SYMPTOMS), found=repr(symptom),
            next_step="take one of these, or leave --symptom out",
        )  # fmt: skip
    found: list[Finding] = _home(books, period)
    for step in SYMPTOMS[symptom] if symptom else STEPS:
        try:
            found += _STEPS[step](books, period)
        except CopsError as problem:
            found.append(_refused(step, problem))
            if step == "scope":  # of a month that nobody knows there is nothing more to ask
                break
    with books.admin.read() as con:
        closed = lock.is_sealed(con, period)
    return [of_closed_month(one, str(period)) for one in found] if closed else found


def _home(books: Books, period: Period) -> list[Finding]:
    """What is wrong with the stores that every answer rests on; said only when something is."""
    with books.admin.read() as con:
        found = [
            Finding(
                "home", "red", f"a published file is lost: {file.table_name} {file.path.name}", wrong,
                f"cops runs {period}", repair.way_out(books, con, file),
            )
            for file, wrong in repair.lost(books, con, period)
        ]  # fmt: skip
    with books.admin.read() as con:  # anew: anchors are listed before the chain is read
        found += [
            Finding(
                "home", "red", f"evidence: {one.what}", f"expected {one.expected}, found {one.found}",
                "cops evidence verify",
                standing.OTHER_CHAIN if one.status == "mismatch" else standing.RESTORE,
            )
            for one in standing.look(con, evidence.objects(books), books.settings.evidence_uri)
        ]  # fmt: skip
        return found + _clock(con, period)


def _clock(con: sa.Connection, period: Period) -> list[Finding]:
    j = t.publish_journal
    rows = con.execute(
        sa.select(j.c.journal_seq, j.c.period_start, j.c.published_at).order_by(j.c.journal_seq)
    ).all()
    back = [
        (before, row)
        for before, row in pairwise(rows)
        if row.published_at < before.published_at and period.start in (row.period_start, before.period_start)
    ]
    return [
        Finding(
            "home", "amber", "the clock went back",
            f"journal row {row.journal_seq} of {row.published_at:%Y-%m-%d %H:%M} comes after row"
            f" {before.journal_seq} of {before.published_at:%Y-%m-%d %H:%M}",
            "cops sql -q 'SELECT journal_seq, published_at FROM publish_journal ORDER BY 1'",
            "check the machine's clock; the ledger goes by journal numbers, its amounts are right",
        )
        for before, row in back[-1:]
    ]  # fmt: skip


def _refused(step: Step, problem: CopsError) -> Finding:
    return Finding(
        step, "red", f"{problem.code}: {problem.subject}",
        f"expected {problem.expected}, found {problem.found}", "cops docs troubleshooting", problem.next_step,
    )  # fmt: skip


def _judged(step: Step, verdicts: Sequence[Verdict], period: Period) -> list[Finding]:
    """What does not hold, or one line that says how much does."""
    found = [of_verdict(step, verdict, str(period)) for verdict in verdicts]
    wrong = [one for one in found if one.light in ("red", "amber")]
    held = Finding(step, "green", f"{step} holds", f"{len(found)} checks asked")
    return wrong or [held]


def _scope(books: Books, period: Period) -> list[Finding]:
    here = state.statuses(books, period)[0]
    told = f"{here.state}, {here.lines:,} lines, {here.aws_usd:,.2f} USD from {here.sources} source(s)"
    return [Finding("scope", "green", f"{period} is known", told, f"cops status {period}")]


def _freshness(books: Books, period: Period) -> list[Finding]:
    if not any(month.period == period for month in deliver.months(books)):
        deliver.look(books, period, log=False)  # refuses with what is there instead
    found = _judged("freshness", judge_delivery.delivery(books, period), period)
    with books.admin.read() as con:
        here = state.statuses(books, period)[0]
        log = t.cur_ingestion_log
        last = con.execute(
            sa.select(log).where(log.c.period_start == period.start).order_by(log.c.log_seq.desc()).limit(1)
        ).one_or_none()
    if last is not None and last.status == "failed":
        found.append(
            Finding(
                "freshness", "red", f"the last ingestion failed: {last.error_code}",
                f"{last.error_detail or ''}"[:300], f"cops runs {period}", f"cops materialize {period}",
            )
        )  # fmt: skip
    if here.gap_usd:
        found.append(
            Finding(
                "freshness", "amber", "a newer delivery is not allocated yet", f"gap {here.gap_usd:,.2f} USD",
                f"cops status {period}", f"cops materialize {period}",
            )
        )  # fmt: skip
    return found


def _tags(books: Books, period: Period) -> list[Finding]:
    return _judged("tags", judge.tagged(books, period), period)


def _allocation(books: Books, period: Period) -> list[Finding]:
    log = t.allocation_run_log
    with books.admin.read() as con:
        last = con.execute(
            sa.select(log)
            .where(log.c.period_start == period.start)
            .order_by(log.c.started_at.desc())
            .limit(1)
        ).one_or_none()
        allocated = head(con, allocate.TABLE, period)
    found: list[Finding] = []
    if last is not None and last.status in ("refused", "failed"):
        found.append(
            Finding(
                "allocation", "red", f"the last run was {last.status}: {last.error_code}",
                f"{last.error_detail or ''}"[:300], f"cops runs {period}",
                f"correct keys or rules, then: cops materialize {period}",
            )
        )  # fmt: skip
    if allocated is None:
        found.append(
            Finding(
                "allocation", "red", "nothing is allocated", "no run was published",
                f"cops runs {period}", f"cops materialize {period}",
            )
        )  # fmt: skip
    verdicts = judge.keys(books, period)
    if allocated is not None:
        verdicts += judge.allocated(books, period)
    return found + [
        one for one in _judged("allocation", verdicts, period) if not found or one.light != "green"
    ]


def _invoices(books: Books, period: Period) -> list[Finding]:
    with books.admin.read() as con:
        newest = recon_log.newest(con, period)
        frozen = freeze.in_force(con, period)
    if newest is None:
        return [
            Finding(
                "invoices", "red", "the month was never reconciled", "no reconciliation",
                f"cops status {period}", f"cops materialize {period}",
            )
        ]  # fmt: skip
    found = _judged("invoices", judge.reconciled(books, period), period)
    found += [
        Finding(
            "invoices", "red", f"new invoices are frozen: {freeze.name_of(row)}", row.reason,
            f"cops freeze check {period}", f"cops freeze release {period} --reason '…' --evidence LINK",
        )
        for row in frozen
    ]  # fmt: skip
    return found


def _snapshot(books: Books, period: Period) -> list[Finding]:
    """The reconciliation as it stands now is on record before anything is changed."""
    with books.admin.read() as con:
        sealed = lock.is_sealed(con, period)
        before = recon_log.newest(con, period)
    if sealed and before:
        done, told = before.recon_id, "the month is sealed"
    else:
        made = reconcile.reconcile(books, period, note="snapshot by cops doctor")
        done, told = made.recon_id, "recorded now" if made.wrote else "on record already"
    look = f"cops sql -q \"SELECT * FROM recon_run WHERE recon_id = '{done}'\""
    return [Finding("snapshot", "green", "the reconciliation is on record", f"{done[:16]}, {told}", look)]


def _alerts(books: Books, period: Period) -> list[Finding]:
    found = _judged("alerts", judge.budgets(books), period)
    receivers = books.settings.notify.receivers
    if not receivers:
        found.append(
            Finding(
                "alerts", "red", "nobody is told", "no receiver is set in [notify]", "cops alerts list",
                "set receivers: cops docs budgets-alerts, then: cops alerts test",
            )
        )  # fmt: skip
    at = now()
    with books.admin.read() as con:
        told, firing = watch.told(con), [one for one in watch.alerts(con) if one.state == "firing"]
        silent = watch.silences(con, at)
        judged = con.execute(sa.select(sa.func.max(t.control_status.c.evaluated_at))).scalar_one_or_none()
    for name in sorted(
        {name for names in told.values() for name in names if name.endswith("(not accepted)")}
    ):
        found.append(
            Finding(
                "alerts", "red", f"{name.split(' ')[0]} does not accept messages", name,
                "cops alerts list", "cops alerts test",
            )
        )  # fmt: skip
    if judged is None or at - judged > timedelta(hours=2):
        found.append(
            Finding(
                "alerts", "red", "nothing is being judged",
                f"controls last judged {judged:%Y-%m-%d %H:%M} UTC" if judged else "controls never judged",
                "cops controls", "start dagster-daemon, or: cops controls --evaluate",
            )
        )  # fmt: skip
    if silent:
        found.append(
            Finding(
                "alerts", "amber", "a silence keeps messages back",
                "; ".join(f"{one.rule or 'any rule'} until {one.ends_at:%Y-%m-%d %H:%M}" for one in silent),
                "cops sql -q 'SELECT * FROM alert_silence'", "it ends by itself",
            )
        )  # fmt: skip
    untold = [one for one in firing if receivers and one.fingerprint not in told and one.severity != "P4"]
    if untold:
        found.append(
            Finding(
                "alerts", "amber", f"{len(untold)} alert(s) fire and nobody was told", untold[0].title,
                "cops alerts list", "cops alerts tick",
            )
        )  # fmt: skip
    return found


_STEPS: dict[Step, Callable[[Books, Period], list[Finding]]] = {
    "scope": _scope,
    "freshness": _freshness,
    "tags": _tags,
    "allocation": _allocation,
    "invoices": _invoices,
    "snapshot": _snapshot,
    "alerts": _alerts,
}
