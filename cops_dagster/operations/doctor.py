"""The quick diagnostic path: six questions about a month, each answered with figure, query and next step.

Belongs here: asking, in the playbook's order, and recording the reconciliation snapshot before anybody
changes anything. Does not belong here: what to do about a finding (`operations/diagnosis.py`), whether the
home itself is well (`operations/home_health.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import sqlalchemy as sa

from cops_dagster.alerts import board
from cops_dagster.allocation import allocate
from cops_dagster.allocation.checks import allocated, keys
from cops_dagster.clocks import is_within
from cops_dagster.closing import status
from cops_dagster.errors import CopsError
from cops_dagster.evidence import adoption, consent
from cops_dagster.ingestion import checks, mapped_tags, places
from cops_dagster.ingestion.log import newest_ingestion
from cops_dagster.ingestion.look import look
from cops_dagster.ledger import lock
from cops_dagster.ledger.books import Books
from cops_dagster.ledger.month import head, known
from cops_dagster.money import amount
from cops_dagster.operations import starved
from cops_dagster.operations.checks import budgets
from cops_dagster.operations.diagnosis import STEPS, SYMPTOMS, Finding, Step, of_closed_month, of_verdict
from cops_dagster.operations.home_health import findings, refused
from cops_dagster.period import Period
from cops_dagster.reconciliation import exceptions, freeze, invoicing, reconcile, record
from cops_dagster.reconciliation.checks import reconciled
from cops_dagster.stores import tables as t
from cops_dagster.stores.admin import now
from cops_dagster.tagging import tag
from cops_dagster.tagging.checks import tagged
from cops_dagster.verdict import Verdict


def newest_open(books: Books) -> Period:
    """The newest month that is not closed; of books that are closed throughout, the newest.

    Raises:
        CopsError: `E-PERIOD-UNKNOWN` when they know none.
    """
    with books.admin.read() as con:
        there = known(con)
        open_ = [period for period in there if not lock.is_sealed(con, period)]
    if not there:
        raise CopsError(
            "E-PERIOD-UNKNOWN",
            "doctor",
            expected="a month of the books",
            found="none yet",
            next_step="run `cops materialize PERIOD`",
        )
    return max(open_ or there)


def diagnose(books: Books, period: Period, symptom: str | None = None) -> list[Finding]:
    """The six steps of a month, or those that find the cause of a symptom.

    Raises:
        CopsError: `E-PARAM` for a symptom that the playbook does not have.
    """
    if symptom is not None and symptom not in SYMPTOMS:
        raise CopsError(
            "E-PARAM",
            f"symptom {symptom!r}",
            expected=", ".join(SYMPTOMS),
            found=repr(symptom),
            next_step="take one of these, or leave --symptom out",
        )
    found = _settings(books)
    if books.admin.only_reads:
        found.insert(0, refused("home", books.admin.only_reads))
    found += findings(books, period)
    for step in SYMPTOMS[symptom] if symptom else STEPS:
        try:
            found += _STEPS[step](books, period)
        except CopsError as problem:
            found.append(refused(step, problem))
            if step == "scope":  # of a month that nobody knows there is nothing more to ask
                break
    found += [] if symptom else _receivers(books)
    with books.admin.read() as con:
        closed = lock.is_sealed(con, period)
        late = _late_documents(con)
    return [*([of_closed_month(one, str(period)) for one in found] if closed else found), *late]


def _late_documents(con: sa.Connection) -> list[Finding]:
    """Whatever month is asked for: a correction of a closed month is nowhere else to be seen."""
    return [
        Finding(
            "invoices",
            "red",
            "a document corrects a closed month",
            one.note,
            f"cops exceptions list {one.period}",
            f"cops exceptions decide {one.exception_id[:16]} --decision '…' --evidence LINK",
        )
        for one in exceptions.late_documents(con)
    ]


def _judged(step: Step, verdicts: Sequence[Verdict], period: Period) -> list[Finding]:
    """What does not hold, or one line that says how much does."""
    found = [of_verdict(step, verdict, str(period)) for verdict in verdicts]
    wrong = [one for one in found if one.light in ("red", "amber")]
    held = Finding(step, "green", f"{step} holds", f"{len(found)} checks asked")
    return wrong or [held]


def _settings(books: Books) -> list[Finding]:
    """That this process is set differently from the books, which every act here would refuse."""
    return [
        Finding(
            "scope",
            "red",
            "settings here are not the policy of the books",
            adoption.told([one]),
            "cops policy diff",
            "correct the setting, or cops policy adopt",
        )
        for one in adoption.differences(books)
    ]


def _scope(books: Books, period: Period) -> list[Finding]:
    here = status.statuses(books, period)[0]
    usd = amount.shown(here.aws_usd)
    told = f"{here.state}, {here.lines:,} lines, {usd} USD from {here.sources} source(s)"
    found = [Finding("scope", "green", f"{period} is known", told, f"cops status {period}")]
    if here.close_asked_by:
        found.append(
            Finding(
                "scope",
                "amber",
                "its close waits for a second person",
                f"asked for by {here.close_asked_by}",
                f"cops status {period}",
                f"cops approve close-{period} --reason '…'",
            )
        )
    return found


def _freshness(books: Books, period: Period) -> list[Finding]:
    if not any(month.period == period for month in places.months(books.settings)):
        look(books, period, log=False)  # refuses with what is there instead
    found = _judged("freshness", checks.delivery(books, period), period)
    with books.admin.read() as con:
        here = status.statuses(books, period)[0]
        last = newest_ingestion(con, period)
    if last is not None and last.status == "failed":
        found.append(
            Finding(
                "freshness",
                "red",
                f"the last ingestion failed: {last.error_code}",
                f"{last.error_detail or ''}"[:300],
                f"cops runs {period}",
                f"cops materialize {period}",
            )
        )
    if here.gap_usd:
        found.append(
            Finding(
                "freshness",
                "amber",
                "a newer delivery is not allocated yet",
                f"gap {amount.shown(here.gap_usd)} USD",
                f"cops status {period}",
                f"cops materialize {period}",
            )
        )
    return found


def _tags(books: Books, period: Period) -> list[Finding]:
    with books.admin.read() as con:
        mapping = mapped_tags.verdict(con, books.policy.tags, period)
        is_tagged = head(con, tag.TABLE, period) is not None
    # by a mapping that names nothing the month was never tagged, and there is no more to ask
    return _judged("tags", [mapping, *(tagged(books, period) if is_tagged else [])], period)


def _allocation(books: Books, period: Period) -> list[Finding]:
    log = t.allocation_run_log
    with books.admin.read() as con:
        last = con.execute(
            sa.select(log)
            .where(log.c.period_start == period.start)
            .order_by(log.c.started_at.desc())
            .limit(1)
        ).one_or_none()
        entries = head(con, allocate.TABLE, period)
        found = starved.findings(con, period)
    if last is not None and last.status in ("refused", "failed"):
        found.append(
            Finding(
                "allocation",
                "red",
                f"the last run was {last.status}: {last.error_code}",
                f"{last.error_detail or ''}"[:300],
                f"cops runs {period}",
                f"correct keys or rules, then: cops materialize {period}",
            )
        )
    if entries is None:
        found.append(
            Finding(
                "allocation",
                "red",
                "nothing is allocated",
                "no run was published",
                f"cops runs {period}",
                f"cops materialize {period}",
            )
        )
    verdicts = keys(books, period)
    if entries is not None:
        verdicts += allocated(books, period)
    return found + [
        one for one in _judged("allocation", verdicts, period) if not found or one.light != "green"
    ]


def _invoices(books: Books, period: Period) -> list[Finding]:
    with books.admin.read() as con:
        newest = record.newest(con, period)
        frozen = freeze.in_force(con, period)
        sources = invoicing.sources(con, period)
    if newest is None:
        return [
            Finding(
                "invoices",
                "red",
                "the month was never reconciled",
                "no reconciliation",
                f"cops status {period}",
                f"cops materialize {period}",
            )
        ]
    found = _judged("invoices", reconciled(books, period), period)
    found += [
        Finding(
            "invoices",
            "amber",
            f"{one.source_id} looks pro forma: AWS issues no invoice on it",
            "no line of any month names an invoice",
            f"cops status {period}",
            f"cops period mark-final {period} --reason 'pro forma report'",
        )
        for one in sources
        if one.looks_pro_forma and not one.is_pro_forma
    ]
    found += [
        Finding(
            "invoices",
            "red",
            f"new invoices are frozen: {consent.name_of(row)}",
            row.reason,
            f"cops freeze check {period}",
            f"cops freeze release {period} --reason '…' --evidence LINK",
        )
        for row in frozen
    ]
    return found


def _snapshot(books: Books, period: Period) -> list[Finding]:
    """The reconciliation as it stands now is on record before anything is changed."""
    with books.admin.read() as con:
        sealed = lock.is_sealed(con, period)
        before = record.newest(con, period)
    if before and (sealed or books.adopted is None or adoption.differences(books)):
        done = before.recon_id
        told = "the month is sealed" if sealed else "as it was; no act is possible with these settings"
    else:
        made = reconcile.reconcile(books, period, note="snapshot by cops doctor")
        done, told = made.recon_id, "recorded now" if made.wrote else "on record already"
    query = f"cops sql -q \"SELECT * FROM recon_run WHERE recon_id = '{done}'\""
    return [Finding("snapshot", "green", "the reconciliation is on record", f"{done[:16]}, {told}", query)]


def _alerts(books: Books, period: Period) -> list[Finding]:
    found = _judged("alerts", budgets(books), period)
    receivers = books.settings.notify.receivers
    if not receivers:
        found.append(
            Finding(
                "alerts",
                "red",
                "nobody is told",
                "no receiver is set in [notify]",
                "cops alerts list",
                "set receivers: cops docs budgets-alerts, then: cops alerts test",
            )
        )
    found += [
        Finding(
            "alerts",
            "amber",
            f"{name} names no receiver",
            "a secret that no [notify] setting describes",
            "cops alerts test",
            f"set its kind in [notify.receivers], or unset {name}",
        )
        for name in books.settings.ignored_secrets
    ]
    at = now()
    with books.admin.read() as con:
        silent = board.silences(con, at)
        judged = board.judged_at(con, at)
    if judged is None or not is_within(judged, timedelta(hours=2), at):
        found.append(
            Finding(
                "alerts",
                "red",
                "nothing is being judged",
                f"controls last judged {judged:%Y-%m-%d %H:%M} UTC" if judged else "controls never judged",
                "cops controls",
                "start dagster-daemon, or: cops controls --evaluate",
            )
        )
    if silent:
        found.append(
            Finding(
                "alerts",
                "amber",
                "a silence keeps messages back",
                "; ".join(f"{one.rule or 'any rule'} until {one.ends_at:%Y-%m-%d %H:%M}" for one in silent),
                "cops sql -q 'SELECT * FROM alert_silence'",
                "it ends by itself",
            )
        )
    return found + _receivers(books)


def _receivers(books: Books) -> list[Finding]:
    """Messages that reach nobody: whatever else is asked, whoever asks has not been told."""
    with books.admin.read() as con:
        refusing, (untold, gravest) = board.not_accepting(con), board.nobody_knows(con)
    found = [
        Finding(
            "alerts",
            "red",
            f"{name} does not accept messages",
            f"{name} (not accepted)",
            "cops alerts list",
            "cops alerts test",
        )
        for name in refusing
    ]
    if books.settings.notify.receivers and untold:
        found.append(
            Finding(
                "alerts",
                "amber",
                f"{untold} alert(s) fire and nobody was told",
                gravest,
                "cops alerts list",
                "cops alerts tick",
            )
        )
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
