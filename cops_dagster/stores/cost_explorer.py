"""What the payer's Cost Explorer API knows of cost allocation tags.

Belongs here: the call, its pages, and its failures as coded errors. Does not belong here: what the
answer means (`ledger/active_tags.py`). Credentials, proxies and `AWS_ENDPOINT_URL` are boto3's affair; no
text of AWS enters a message, since a refused signature quotes the session token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cops_dagster.errors import CopsError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

REGION = "us-east-1"
"""Cost Explorer lives in one region."""
PAGES_MAX = 1000
ATTEMPTS = 4
"""Tries of each page, with botocore's growing pauses in between."""

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


def list_cost_allocation_tags() -> list[dict[str, Any]]:
    """Every entry of ListCostAllocationTags, active and inactive, from all pages.

    Raises:
        CopsError: `E-AWS-DENIED` (no credentials, or none that may), `E-AWS-THROTTLED`,
            `E-AWS-UNREACHABLE` (no answer, or none that can be used).
    """
    from boto3.session import Session
    from botocore import exceptions as aws
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS}, connect_timeout=10, read_timeout=60
    )
    place = "Cost Explorer"
    found: list[dict[str, Any]] = []
    try:
        client = Session().client("ce", region_name=REGION, config=config)
        place = f"Cost Explorer at {urlsplit(client.meta.endpoint_url).hostname}"
        pages = client.get_paginator("list_cost_allocation_tags").paginate(
            PaginationConfig={"PageSize": 1000}
        )
        for number, page in enumerate(pages, start=1):
            found += page.get("CostAllocationTags", [])
            if number == PAGES_MAX:
                raise _unreachable(place, f"more than {PAGES_MAX} pages")
    except (
        aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError,
        aws.NoAuthTokenError, aws.ProfileNotFound, aws.TokenRetrievalError, aws.SSOError,
        aws.UnauthorizedSSOTokenError,
    ) as problem:  # fmt: skip
        raise _denied(place, f"no usable credentials ({type(problem).__name__})") from None
    except aws.ClientError as problem:
        raise _answered(place, problem) from None
    except (aws.BotoCoreError, ValueError) as problem:  # ValueError: an endpoint that is no URL
        raise _unreachable(place, type(problem).__name__) from None
    return found


def _answered(place: str, problem: ClientError) -> CopsError:
    code = str(problem.response.get("Error", {}).get("Code", "no code"))[:80]
    status = problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _THROTTLED or status == 429:
        return CopsError(
            "E-AWS-THROTTLED",
            place,
            expected=f"an answer within {ATTEMPTS} attempts",
            found=f"{code} each time",
            next_step="wait some minutes and try again",
        )
    if code in _DENIED or status in (401, 403):
        return _denied(place, code)
    return _unreachable(place, f"{code} (HTTP {status})")


def _denied(place: str, found: str) -> CopsError:
    return CopsError(
        "E-AWS-DENIED",
        place,
        expected="credentials of the payer account that may call ce:ListCostAllocationTags",
        found=found,
        next_step="sign in to the payer account, or give the list as a FILE (`aws ce"
        " list-cost-allocation-tags --output json > FILE`)",
    )


def _unreachable(place: str, found: str) -> CopsError:
    return CopsError(
        "E-AWS-UNREACHABLE",
        place,
        expected="an answer of ListCostAllocationTags",
        found=found,
        next_step="check network, proxy and AWS_ENDPOINT_URL, then try again; or give the list as a FILE",
    )
