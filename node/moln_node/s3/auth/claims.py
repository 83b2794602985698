"""What a request says of its own signature, in its headers or in its query: read, and held to SigV4's form.

Pure; called by `authenticate`, which decides whether it is true. Errors have AWS's codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from moln_node.s3.auth import sigv4
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

WEEK = 7 * 24 * 3600
_EPOCH = datetime.fromtimestamp(0, UTC)
_PRESIGNED = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders",
              "X-Amz-Expires")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature, however it says it."""

    scope: sigv4.Scope
    signed_headers: tuple[str, ...]
    signature: str


def version_2() -> S3Error:
    """The refusal of what SigV2 is not taken for, in the words that clients know."""
    return S3Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )


def read_old_header(authorization: str) -> tuple[str, str] | None:
    """Access key and signature of an Authorization header of SigV2, None if it is of another kind; InvalidArgument."""
    scheme, _, rest = authorization.partition(" ")
    if scheme != "AWS":
        return None
    access_key, _, signature = rest.strip().partition(":")
    if not access_key or not signature:
        raise S3Error("InvalidArgument", "AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
    return access_key, signature


def read_header(authorization: str) -> Claim:
    """The claim of an Authorization header."""
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != sigv4.ALGORITHM:
        raise S3Error("InvalidArgument", "Unsupported Authorization Type: sign with AWS4-HMAC-SHA256.")
    fields = dict([piece.strip().partition("=")[::2] for piece in rest.split(",")])
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not fields.get(name)]
    if missing:
        raise S3Error(
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the authorization header requires {', '.join(missing)}.",
        )
    try:
        scope = sigv4.parse_credential(fields["Credential"])
    except ValueError as error:
        raise S3Error(
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the Credential is mal-formed; {error}.",
        ) from None
    return Claim(scope, tuple(fields["SignedHeaders"].lower().split(";")), fields["Signature"])


def read_date(headers: CIMultiDictProxy[str]) -> tuple[datetime, str]:
    """When the request was signed, and that moment in the form that the signature has it."""
    text = headers.get("x-amz-date")
    if text is not None:
        moment = sigv4.parse_date(text)
    else:
        text = headers.get("Date", "")
        moment = sigv4.parse_date(text) or _http_date(text)
        text = moment.strftime("%Y%m%dT%H%M%SZ") if moment else ""
    if moment is None:
        raise _no_date()
    return moment, text


def read_old_date(headers: CIMultiDictProxy[str]) -> tuple[datetime, str]:
    """When a request of SigV2 was signed, and the header that says so, which may have a date of either form."""
    text = headers.get("x-amz-date", headers.get("Date", ""))
    moment = _http_date(text) or sigv4.parse_date(text)
    if moment is None or moment < _EPOCH:
        raise _no_date()
    return moment, text


def _no_date() -> S3Error:
    return S3Error(
        "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header, as in 20260131T120000Z."
    )


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def read_query(query: Mapping[str, str]) -> tuple[Claim, datetime, int]:
    """The claim of a presigned URL, when it was signed, and for how many seconds."""
    code = "AuthorizationQueryParametersError"
    if not all(query.get(name) for name in _PRESIGNED):
        raise S3Error(code, f"Query-string authentication version 4 requires the parameters {', '.join(_PRESIGNED)}.")
    if query["X-Amz-Algorithm"] != sigv4.ALGORITHM:
        raise S3Error(code, f'X-Amz-Algorithm only supports "{sigv4.ALGORITHM}"')
    try:
        scope = sigv4.parse_credential(query["X-Amz-Credential"])
    except ValueError as error:
        raise S3Error(code, f"Error parsing the X-Amz-Credential parameter; {error}.") from None
    moment = sigv4.parse_date(query["X-Amz-Date"])
    if moment is None:
        raise S3Error(code, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if query["X-Amz-Date"][:8] != scope.date:
        raise S3Error(code, "Invalid credential date: it is not the date of X-Amz-Date.")
    text = query["X-Amz-Expires"]
    if not (text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) < 20):
        raise S3Error(code, "X-Amz-Expires should be a number")
    seconds = int(text)
    if not 1 <= seconds <= WEEK:
        # 403 as clients know it from servers that take such a URL for one that has expired
        raise S3Error(code, f"X-Amz-Expires must be between 1 and {WEEK} seconds", status=403)
    return (
        Claim(scope, tuple(query["X-Amz-SignedHeaders"].lower().split(";")), query["X-Amz-Signature"]),
        moment,
        seconds,
    )
