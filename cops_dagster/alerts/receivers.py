"""The places that take messages: SNS, e-mail, Slack, webhook, console.

Belongs here: one class per kind, each a thin call of its library with a timeout of each wait and no retry
of its own: what was not accepted is due again at a later tick. How long a call may take in all is the
affair of whoever makes it (`alerts/calls.py`). Only the receivers of the settings exist; no address comes
from data, and no redirect is followed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from importlib import import_module
from typing import Any, Protocol

from cops_dagster.alerts.message import Message, for_slack, for_subject
from cops_dagster.errors import CopsError
from cops_dagster.settings import Settings
from cops_dagster.settings_sections import Receiver as Configured
from cops_dagster.stores import network
from cops_dagster.stores.aws.sns import Topic

SECONDS = 10
"""How long a receiver may keep silent."""
SNS_BYTES_MAX = 250_000
_LIBRARY = {"slack": "requests", "webhook": "requests", "smtp": "smtplib", "sns": "boto3.session"}
_SMTP = {
    "SMTPAuthenticationError": "the login was refused",
    "SMTPSenderRefused": "the sender was refused",
    "SMTPConnectError": "the server takes no connection",
    "SMTPHeloError": "the server refused the greeting",
    "SMTPDataError": "the message was refused",
}


class NotAccepted(Exception):
    """A receiver did not take a message. `is_down`: it would not take another one now either."""

    def __init__(self, why: str, *, is_down: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.is_down = is_down


class Receiver(Protocol):
    """What takes messages."""

    def send(self, message: Message) -> str:
        """Hands the message over; what the receiver answered. Raises `NotAccepted`."""

    def inspect(self) -> list[str]:
        """What can be found out about the receiver beyond sending: one finding per line."""


def open_receiver(configured: Configured) -> Receiver:
    """The receiver of a setting. Nothing is connected yet."""
    made: dict[str, Any] = {
        "sns": Sns, "smtp": Smtp, "slack": Slack, "webhook": Webhook, "console": Console,
    }  # fmt: skip
    receiver: Receiver = made[configured.kind](configured)
    return receiver


def load(kinds: Iterable[str]) -> None:
    """Loads what speaks to some kinds of receivers, so that it does not take of the time that these have."""
    for kind in sorted({*kinds} & {*_LIBRARY}):
        import_module(_LIBRARY[kind])


def open_receivers(settings: Settings) -> dict[str, Receiver]:
    """Every configured receiver by name."""
    return {name: open_receiver(one) for name, one in sorted(settings.notify.receivers.items())}


@dataclass(frozen=True)
class Console:
    """Standard error of the process that ticks."""

    configured: Configured

    def send(self, message: Message) -> str:
        """Prints the message."""
        sys.stderr.write(message.text + "\n")
        return "printed"

    def inspect(self) -> list[str]:
        """Nothing to find out."""
        return []


@dataclass(frozen=True)
class Webhook:
    """JSON to one fixed address; any 2xx is acceptance."""

    configured: Configured

    def send(self, message: Message) -> str:
        """Posts the message with its key, so that the other side may drop a duplicate."""
        return _post(self.configured, self._body(message), {"Idempotency-Key": message.key})

    def _body(self, message: Message) -> dict[str, Any]:
        return {
            "key": message.key, "severity": message.severity, "period": message.period,
            "subject": message.subject, "text": message.text, "count": len(message.entries),
            "alerts": [
                {
                    "key": one.key, "id": one.alert.fingerprint, "episode": one.alert.episode,
                    "reason": one.reason, "rule": one.alert.rule, "scope": one.alert.scope,
                    "state": one.alert.state, "measured": one.alert.measured,
                    "since": (one.alert.fired_at or one.alert.since).isoformat(),
                }
                for one in message.entries[:100]
            ],
        }  # fmt: skip

    def inspect(self) -> list[str]:
        """Nothing to find out."""
        return []


@dataclass(frozen=True)
class Slack:
    """An incoming webhook of Slack."""

    configured: Configured

    def send(self, message: Message) -> str:
        """Posts plain text: no markup, no mentions, no previews."""
        body = {
            "text": for_slack(message.text),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        return _post(self.configured, body, {})

    def inspect(self) -> list[str]:
        """Nothing to find out."""
        return []


def _post(configured: Configured, body: dict[str, Any], headers: dict[str, str]) -> str:
    import requests

    assert configured.url is not None  # the settings see to it
    try:
        with network.unlogged():
            answer = requests.post(
                configured.url.get_secret_value(),
                data=json.dumps(body).encode(),
                timeout=SECONDS,
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
                stream=True,
            )
            answer.close()
    except requests.RequestException as problem:
        # the text of the problem holds the address, which is a secret
        raise NotAccepted(network.why(problem)) from None
    if not 200 <= answer.status_code < 300:
        raise NotAccepted(f"HTTP {answer.status_code}", is_down=answer.status_code >= 500)
    return f"HTTP {answer.status_code}"


@dataclass(frozen=True)
class Smtp:
    """E-mail over SMTP, with STARTTLS unless said otherwise."""

    configured: Configured

    def send(self, message: Message) -> str:
        """Sends one mail to every address; some of them refused is told, all of them is a failure."""
        import smtplib
        import ssl

        to = self.configured
        mail = EmailMessage()
        mail["Subject"] = for_subject(message.subject, 180)
        mail["From"], mail["To"] = to.sender, ", ".join(to.to)
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = f"<{message.key}@cops>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        try:
            opened = (
                smtplib.SMTP_SSL(
                    to.host or "", to.port, timeout=SECONDS, context=ssl.create_default_context()
                )
                if to.tls == "tls"
                else smtplib.SMTP(to.host or "", to.port, timeout=SECONDS)
            )
            with opened as server:
                if to.tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if to.username and to.password:
                    server.login(to.username, to.password.get_secret_value())
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused:
            raise NotAccepted("every recipient was refused") from None
        except smtplib.SMTPResponseException as problem:
            what = _SMTP.get(type(problem).__name__, "the server refused")
            raise NotAccepted(f"{what} (SMTP {problem.smtp_code})") from None
        except (smtplib.SMTPException, OSError) as problem:
            raise NotAccepted(network.why(problem)) from None
        return f"accepted for {len(to.to) - len(refused)} of {len(to.to)} recipient(s)"

    def inspect(self) -> list[str]:
        """Nothing to find out without sending."""
        return []


@dataclass(frozen=True)
class Sns:
    """A topic of Amazon SNS. Credentials and `AWS_ENDPOINT_URL` are boto3's affair."""

    configured: Configured

    @property
    def _topic(self) -> Topic:
        assert self.configured.topic_arn is not None  # the settings see to it
        return Topic(self.configured.topic_arn, SECONDS)

    def send(self, message: Message) -> str:
        """Publishes the message; the topic's filter policies may use the attribute `severity`."""
        try:
            message_id = self._topic.publish(
                subject=for_subject(message.subject),
                text=message.text.encode()[:SNS_BYTES_MAX].decode("utf-8", "ignore"),
                attributes={"severity": message.severity, "key": message.key},
                key=message.key,
            )
        except CopsError as problem:
            raise NotAccepted(problem.found) from None
        return f"message {message_id}"

    def inspect(self) -> list[str]:
        """The topic's policy and its subscriptions: what is confirmed, pending or gone."""
        try:
            standing = self._topic.standing()
        except CopsError as problem:
            return [f"topic policy and subscriptions: {problem.found}"]
        pending = standing.subscriptions.count("PendingConfirmation")
        confirmed = len(standing.subscriptions) - pending
        return [
            f"topic policy: {standing.statements} statement(s), {standing.denied} deny",
            f"subscriptions: {confirmed} confirmed, {pending} pending"
            + ("" if confirmed else "; nobody gets these messages"),
        ]
