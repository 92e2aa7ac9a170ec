"""Calling AWS: clients with bounded retries, and AWS's failures as coded errors.

Belongs here: what every call has in common. Credentials, proxies and `AWS_ENDPOINT_URL` are boto3's affair;
no text of AWS enters a message, since a refused signature quotes the session token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cops_dagster.errors import CopsError
from cops_dagster.stores import network

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ATTEMPTS = 4
"""Tries of each call, with botocore's growing pauses in between."""

_THROTTLED = (
    "LimitExceededException", "RequestLimitExceeded", "RequestThrottled", "SlowDown", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
)  # fmt: skip
_NO_KEY = "the access key does not exist or is switched off"
_BAD_SIGNATURE = "the secret key does not fit the access key"
_EXPIRED = "the credentials have expired"
_DENIED = {
    "InvalidAccessKeyId": _NO_KEY,
    "InvalidClientTokenId": _NO_KEY,
    "UnrecognizedClientException": _NO_KEY,
    "SignatureDoesNotMatch": _BAD_SIGNATURE,
    "InvalidSignatureException": _BAD_SIGNATURE,
    "IncompleteSignature": _BAD_SIGNATURE,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "InvalidToken": "the session token is not valid",
    "MissingAuthenticationToken": "no credentials were sent",
    "OptInRequired": "the account is not signed up for the service",
    "AllAccessDisabled": "the bucket is closed to everybody",
    "AccountProblem": "the account has a problem",
} | dict.fromkeys(
    (
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "Forbidden",
        "NotAuthorized",
        "UnauthorizedOperation",
    ),
    "the credentials are good and lack the right",
)
_HELP = {
    _NO_KEY: "use another access key",
    _BAD_SIGNATURE: "correct AWS_SECRET_ACCESS_KEY: it may be cut or of another key",
    _EXPIRED: "sign in again",
}
_REGION = (
    "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException", "301", "307",
)  # fmt: skip
_CLOCK = ("RequestTimeTooSkewed", "RequestInTheFuture")


@dataclass(frozen=True)
class Said:
    """What an answer of AWS means: the code that it gets where nothing else decides, and words for people."""

    code: str
    found: str
    next_step: str = ""


def meaning(problem: BaseException, bucket: str = "") -> Said:
    """What AWS, or the way to it, said: the one place where its answers are told apart.

    No text of AWS is taken over, only its code: a refused signature quotes the session token.
    """
    from botocore import exceptions as aws

    if isinstance(problem, aws.ClientError):
        return _answer(problem, f"bucket {bucket}" if bucket else "bucket")
    if isinstance(
        problem,
        (
            aws.NoCredentialsError,
            aws.PartialCredentialsError,
            aws.CredentialRetrievalError,
            aws.NoAuthTokenError,
            aws.ProfileNotFound,
            aws.TokenRetrievalError,
            aws.SSOError,
            aws.UnauthorizedSSOTokenError,
        ),
    ):
        return Said("E-AWS-DENIED", f"no usable credentials ({type(problem).__name__})")
    if isinstance(problem, aws.NoRegionError):
        return Said("E-AWS-UNREACHABLE", "no region", "set AWS_DEFAULT_REGION, such as eu-west-1")
    if isinstance(problem, aws.ParamValidationError):
        # keys in front of a bucket, as some tools take them, are no part of its name and not to be shown
        name = bucket.rpartition("@")[2] or "a name"
        has_keys = " behind keys: those stand in AWS_* variables" if "@" in bucket else ""
        return Said("E-AWS-BUCKET", f"{name!r}{has_keys}, which no bucket can have", "correct the name")
    return Said("E-AWS-UNREACHABLE", network.why(problem))


def _answer(problem: ClientError, bucket: str) -> Said:
    error = problem.response.get("Error", {})
    code = str(error.get("Code", "no code"))[:80]
    answer: Any = problem.response.get("ResponseMetadata", {})
    status = answer.get("HTTPStatusCode")
    if code == "NoSuchBucket":
        return Said(
            "E-AWS-BUCKET",
            f"{bucket} does not exist ({code})",
            "correct its name, or AWS_ENDPOINT_URL if it is of another service",
        )
    if code in ("NoSuchKey", "NoSuchVersion"):
        return Said("E-AWS-MISSING", f"no such object ({code})", "restore it, or correct the address")
    if code in _REGION:
        region = str(
            (answer.get("HTTPHeaders") or {}).get("x-amz-bucket-region") or error.get("Region") or ""
        )
        there = region if re.fullmatch(r"[a-z0-9-]{1,30}", region) else ""
        return Said(
            "E-AWS-REGION",
            f"{bucket} is in another region{there and ', ' + there} ({code})",
            f"set AWS_DEFAULT_REGION={there or 'REGION'}, and unset AWS_ENDPOINT_URL if it names a region",
        )
    if code in _CLOCK:
        return Said(
            "E-AWS-CLOCK",
            f"this machine's clock is off by more than AWS takes ({code})",
            "set the clock (NTP), then try again",
        )
    if code in _THROTTLED or status == 429:
        return Said("E-AWS-THROTTLED", f"{code} each time", "wait some minutes and try again")
    if code in _DENIED:
        return Said("E-AWS-DENIED", f"{_DENIED[code]} ({code})", _HELP.get(_DENIED[code], ""))
    if status in (401, 403):
        return Said("E-AWS-DENIED", code)
    return Said("E-AWS-UNREACHABLE", f"{code} (HTTP {status})")


def session() -> Any:
    """boto3's, which finds the credentials."""
    from boto3.session import Session

    return Session()


def client(
    of: Any,
    service: str,
    region: str | None = None,
    *,
    attempts: int = ATTEMPTS,
    connect_seconds: int = 10,
    read_seconds: int = 60,
    **more: Any,
) -> Any:
    """A client of a session: each call is tried so often, each of its waits bounded.

    Args:
        more: what else botocore's `Config` takes.
    """
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        **more,
    )
    return of.client(service, region_name=region, config=config)


@dataclass
class Call:
    """One call of AWS: which service, which action is needed, what else helps when it fails."""

    service: str
    place: str
    action: str
    instead: str = ""
    bucket: str = ""

    def client(self, region: str | None = None) -> Any:
        """Its client; the place in messages becomes its host."""
        made = client(session(), self.service, region)
        self.place = f"{self.place} at {urlsplit(made.meta.endpoint_url).hostname}"
        return made

    def unreachable(self, found: str) -> CopsError:
        """An answer that cannot be used."""
        return self.refused(Said("E-AWS-UNREACHABLE", found))

    def refused(self, said: Said) -> CopsError:
        """The coded error of what was said."""
        otherwise = self.instead and f", or {self.instead}"
        expected, next_step = {
            "E-AWS-DENIED": (
                f"credentials that may call {self.action}",
                f"sign in to that account{otherwise}",
            ),
            "E-AWS-THROTTLED": (f"an answer within {ATTEMPTS} attempts", said.next_step),
        }.get(
            said.code,
            (
                f"an answer of {self.action}",
                f"check network, proxy and AWS_ENDPOINT_URL, then try again{otherwise}",
            ),
        )
        return CopsError(
            said.code,
            self.place,
            expected=expected,
            found=said.found,
            next_step=f"{said.next_step}{otherwise}" if said.next_step else next_step,
        )


def odd_answers() -> tuple[type[Exception], ...]:
    """What reading an answer raises that is none of the service asked: a proxy's page, a list, no value.

    botocore checks what is sent, not what comes back: a field may be missing or of any type.
    """
    from botocore.parsers import ResponseParserError

    return (
        ResponseParserError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError,
        ValueError,
    )  # fmt: skip


ODD = "an answer that is none of this service"


@contextmanager
def calling(call: Call) -> Iterator[Call]:
    """Failures of AWS within the block become coded errors, and so do answers that cannot be read.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE`, `E-AWS-BUCKET`, `E-AWS-MISSING`,
            `E-AWS-REGION`, `E-AWS-CLOCK`.
    """
    from botocore import exceptions as aws

    try:
        yield call
    except (aws.ClientError, aws.BotoCoreError, ValueError) as problem:  # ValueError: an endpoint is no URL
        raise call.refused(meaning(problem, call.bucket)) from None
    except odd_answers():
        raise call.unreachable(ODD) from None
