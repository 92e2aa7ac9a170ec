"""Calling AWS: clients with bounded retries, and AWS's failures as coded errors.

Belongs here: what every call has in common. Credentials, proxies and `AWS_ENDPOINT_URL` are boto3's affair;
no text of AWS enters a message, since a refused signature quotes the session token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

ATTEMPTS = 4
"""Tries of each call, with botocore's growing pauses in between."""

_DENIED = (
    "AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "ExpiredTokenException",
    "IncompleteSignature", "InvalidClientTokenId", "InvalidSignatureException",
    "MissingAuthenticationToken", "NotAuthorized", "OptInRequired", "SignatureDoesNotMatch",
    "UnauthorizedOperation", "UnrecognizedClientException",
)  # fmt: skip
_THROTTLED = (
    "LimitExceededException", "RequestLimitExceeded", "RequestThrottled", "SlowDown", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
)  # fmt: skip


@dataclass
class Call:
    """One call of AWS: which service, which action is needed, what else helps when it fails."""

    service: str
    place: str
    action: str
    instead: str = ""

    def client(self, region: str | None = None) -> Any:
        """A client whose answers are waited for at most a minute; the place in messages becomes its host."""
        from boto3.session import Session
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=10,
            read_timeout=60,
        )
        made = Session().client(self.service, region_name=region, config=config)
        self.place = f"{self.place} at {urlsplit(made.meta.endpoint_url).hostname}"
        return made

    def denied(self, found: str) -> CopsError:
        """No credentials, or none that may."""
        return CopsError(
            "E-AWS-DENIED", self.place, expected=f"credentials that may call {self.action}", found=found,
            next_step=f"sign in to that account{self.instead and ', or ' + self.instead}",
        )  # fmt: skip

    def unreachable(self, found: str) -> CopsError:
        """No answer, or none that can be used."""
        return CopsError(
            "E-AWS-UNREACHABLE", self.place, expected=f"an answer of {self.action}", found=found,
            next_step="check network, proxy and AWS_ENDPOINT_URL, then try again"
            f"{self.instead and '; or ' + self.instead}",
        )  # fmt: skip


@contextmanager
def calling(call: Call) -> Iterator[Call]:
    """Failures of AWS within the block become coded errors.

    Raises:
        CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE`.
    """
    from botocore import exceptions as aws

    try:
        yield call
    except (
        aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError,
        aws.NoAuthTokenError, aws.ProfileNotFound, aws.TokenRetrievalError, aws.SSOError,
        aws.UnauthorizedSSOTokenError,
    ) as problem:  # fmt: skip
        raise call.denied(f"no usable credentials ({type(problem).__name__})") from None
    except aws.ClientError as problem:
        raise _answered(call, problem) from None
    except aws.NoRegionError:
        raise CopsError(
            "E-AWS-UNREACHABLE", call.place, expected="a region", found="none",
            next_step="set AWS_DEFAULT_REGION, such as eu-west-1",
        ) from None  # fmt: skip
    except (aws.BotoCoreError, ValueError) as problem:  # ValueError: an endpoint that is no URL
        raise call.unreachable(type(problem).__name__) from None


def _answered(call: Call, problem: ClientError) -> CopsError:
    code = str(problem.response.get("Error", {}).get("Code", "no code"))[:80]
    status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _THROTTLED or status == 429:
        return CopsError(
            "E-AWS-THROTTLED", call.place, expected=f"an answer within {ATTEMPTS} attempts",
            found=f"{code} each time", next_step="wait some minutes and try again",
        )  # fmt: skip
    if code in _DENIED or status in (401, 403):
        return call.denied(code)
    return call.unreachable(f"{code} (HTTP {status})")
