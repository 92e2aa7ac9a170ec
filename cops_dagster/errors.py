"""The one error that people meet: a stable code and the five facts that let them act.

Belongs here: `CopsError` and how it reads, and the refusals that many modules share. Does not belong here:
the decision to refuse, which stays with the module that found the fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cops_dagster.redaction import masked_within

_FACTS = ("subject", "expected", "found", "next_step")


class CopsError(Exception):
    """A refusal: nothing was written, and the text says what to do next.

    What looks like a password or key in one of its texts is masked, wherever the text came from: refusals go
    to terminals, logs, Dagster's pages and the evidence.

    Args:
        code: stable name such as `E-CHUNK-MISSING`; scripts may compare it.
        subject: what it is about (a file, a period, a rule).
        expected: what should have been there.
        found: what was there instead.
        next_step: what a person does now.
        details: further exact facts for logs and JSON output, never secrets.
    """

    def __init__(
        self,
        code: str,
        subject: str,
        *,
        expected: str,
        found: str,
        next_step: str,
        details: dict[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.subject: str = masked_within(subject)
        self.expected: str = masked_within(expected)
        self.found: str = masked_within(found)
        self.next_step: str = masked_within(next_step)
        self.details: dict[str, Any] = masked_within(details or {})
        super().__init__(code, self.subject, self.expected, self.found, self.next_step)

    def __str__(self) -> str:
        return (
            f"{self.code}: {self.subject}: expected {self.expected}; "
            f"found {self.found}; next: {self.next_step}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The refusal as JSON fields, in the order people read them."""
        return {
            "code": self.code,
            "subject": self.subject,
            "expected": self.expected,
            "found": self.found,
            "next_step": self.next_step,
            **({"details": self.details} if self.details else {}),
        }

    def as_figures(self) -> dict[str, str]:
        """The refusal as texts that a log of runs or a check carries; `of_figures` is the way back."""
        facts = {"error_code": self.code, **{name: getattr(self, name) for name in _FACTS}}
        return facts | ({"details": json.dumps(self.details, default=str)} if self.details else {})

    @classmethod
    def of_figures(cls, figures: Mapping[str, str]) -> CopsError | None:
        """The refusal that these texts carry, if they do."""
        if not figures.get("error_code") or any(name not in figures for name in _FACTS):
            return None
        details = json.loads(figures["details"]) if "details" in figures else None
        return cls(figures["error_code"], details=details, **{name: figures[name] for name in _FACTS})


def unknown_month(
    period: object, *, expected: str, found: str, next_step: str = "", subject: str = ""
) -> CopsError:
    """A month that the books do not know, or that is not so far yet."""
    return CopsError(
        "E-PERIOD-UNKNOWN",
        subject or f"period {period}",
        expected=expected,
        found=found,
        next_step=next_step or f"run `cops materialize {period}`",
    )


def not_one(count: int, code: str, subject: str, *, expected: str, next_step: str) -> CopsError:
    """What an id, or its beginning, names is not there, or not alone."""
    return CopsError(code, subject, expected=expected, found=f"{count or 'none'}", next_step=next_step)


def require_said(
    *texts: str,
    subject: str,
    expected: str = "a reason and evidence (a link or a ticket)",
    next_step: str = "add --reason '…' and --evidence LINK",
) -> None:
    """Refuses a decision that nobody gives a reason or evidence for.

    Raises:
        CopsError: `E-PARAM` when one of the texts is empty.
    """
    if not all(text.strip() for text in texts):
        raise CopsError("E-PARAM", subject, expected=expected, found="nothing", next_step=next_step)
