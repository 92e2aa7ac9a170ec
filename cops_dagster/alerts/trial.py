"""Trying the receivers: a message that says it is a test, and what can be found out about each.

Belongs here: `cops alerts test`. Nothing is logged as a notification, since nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cops_dagster.alerts import calls
from cops_dagster.alerts.calls import Outcome, Overdue
from cops_dagster.alerts.lifecycle import Alert, fingerprint
from cops_dagster.alerts.message import Entry, Message
from cops_dagster.alerts.receivers import NotAccepted, Receiver, load, open_receiver
from cops_dagster.errors import CopsError
from cops_dagster.settings import Settings
from cops_dagster.stores.admin import now


def try_out(settings: Settings, only: str | None) -> list[dict[str, Any]]:
    """Sends a test message to every receiver, or to one: accepted or not, its answer, what was found out.

    Raises:
        CopsError: `E-RECEIVER-UNKNOWN` for a name that is not set, or when none is.
    """
    chosen = {name: one for name, one in sorted(settings.notify.receivers.items()) if only in (None, name)}
    if not chosen:
        known = ", ".join(settings.notify.receivers) or "none"
        raise CopsError(
            "E-RECEIVER-UNKNOWN",
            f"receiver {only or 'any'}",
            expected="a receiver of [notify]",
            found=f"set: {known}",
            next_step="set one in cops.toml, see `cops docs budgets-alerts`",
        )
    at = now()
    alert = Alert(
        fingerprint("test", at.isoformat(), None),
        "test",
        "",
        None,
        "firing",
        "P4",
        1,
        0,
        "This is a test",
        None,
        f"asked for by {settings.actor_name}",
        "nothing",
        None,
        at,
        at,
        at,
        None,
        None,
        at,
        at,
    )
    message = Message("P4", "", [Entry(alert, "FIRST", "FIRST")], [], at)
    receivers = {name: open_receiver(one) for name, one in chosen.items()}
    load(one.kind for one in chosen.values())
    answers = _all({name: partial(one.send, message) for name, one in receivers.items()})
    looked = _all({name: partial(_inspected, one) for name, one in receivers.items()})
    found = []
    for name, one in chosen.items():
        (accepted, answer), (could, what) = answers[name], looked[name]
        found.append(
            {
                "receiver": name,
                "kind": one.kind,
                "accepted": accepted,
                "answer": answer,
                "found": what.splitlines() if could else [what],
            }
        )
    return found


def _inspected(receiver: Receiver) -> str:
    return "\n".join(receiver.inspect())


def _all(wanted: dict[str, Callable[[], str]]) -> dict[str, tuple[bool, str]]:
    """Every receiver's answer, and whether it took what was said: side by side, each within its time."""
    found: dict[str, tuple[bool, str]] = {}

    def hear(outcome: Outcome) -> bool:
        match outcome.problem:
            case None:
                found[outcome.name] = True, outcome.answer
            case Overdue():
                found[outcome.name] = False, f"no answer within {calls.SECONDS:g} s"
            case NotAccepted() as problem:
                found[outcome.name] = False, problem.why
            case problem:
                raise problem
        return True

    calls.side_by_side({name: [act] for name, act in wanted.items()}, hear)
    return found
