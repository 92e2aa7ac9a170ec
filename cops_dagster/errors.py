"""The one error that people meet: a stable code and the five facts that let them act.

Belongs here: `CopsError` and how it reads. Does not belong here: the decision to refuse, which
stays with the module that found the fault.
"""

from __future__ import annotations

from typing import Any


class CopsError(Exception):
    """A refusal: nothing was written, and the text says what to do next.

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
        super().__init__(code, subject, expected, found, next_step)
        self.code = code
        self.subject = subject
        self.expected = expected
        self.found = found
        self.next_step = next_step
        self.details = details or {}

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
