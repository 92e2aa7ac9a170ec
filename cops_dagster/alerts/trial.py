"""Trying the receivers: a message that says it is a test, and what can be found out about each.

Belongs here: `cops alerts test`. Nothing is logged as a notification, since nothing is wrong.
"""

from __future__ import annotations

from typing import Any

from cops_dagster.alerts.message import Entry, Message
from cops_dagster.alerts.receivers import NotAccepted, open_receiver
from cops_dagster.errors import CopsError
from cops_dagster.rules.alerts import Alert, fingerprint
from cops_dagster.settings import Settings
from cops_dagster.stores.admin import now


def try_out(settings: Settings, only: str | None) -> list[dict[str, Any]]:
    """Sends a test message to every receiver, or to one: accepted or not, its answer, what was found out.

    Raises:
        CopsError: `E-RECEIVER-UNKNOWN` for a name that is not set, or when none is.
    """
    chosen = {
        name: one for name, one in sorted(settings.notify.receivers.items()) if only in (None, name)
    }  # fmt: skip
    if not chosen:
        known = ", ".join(settings.notify.receivers) or "none"
        raise CopsError(
            "E-RECEIVER-UNKNOWN", f"receiver {only or 'any'}", expected="a receiver of [notify]",
            found=f"set: {known}", next_step="set one in cops.toml, see `cops docs budgets-alerts`",
        )  # fmt: skip
    at = now()
    alert = Alert(
        fingerprint("test", at.isoformat(), None), "test", "", None, "firing", "P4", 1, 0,
        "This is a test", None,
        f"asked for by {settings.actor_name}", "nothing", None, at, at, at, None, None, at, at,
    )  # fmt: skip
    message = Message("P4", "", [Entry(alert, "FIRST", "FIRST")], [], at)
    found = []
    for name, one in chosen.items():
        receiver = open_receiver(one)
        try:
            accepted, answer = True, receiver.send(message)
        except NotAccepted as problem:
            accepted, answer = False, problem.why
        found.append(
            {
                "receiver": name, "kind": one.kind, "accepted": accepted, "answer": answer,
                "found": receiver.inspect(),
            }
        )  # fmt: skip
    return found
