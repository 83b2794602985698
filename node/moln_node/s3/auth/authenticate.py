"""Who signed a request: SigV4 in the Authorization header or in the query, SigV2 in the header, or nobody.

Called once a request by `moln_node.s3.app`, before anything is read from the store or the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_node.s3 import xml
from moln_node.s3.auth import claims, sigv2, sigv4
from moln_node.s3.auth.keyring import ANONYMOUS, Identity, Key, Keyring
from moln_node.s3.errors import S3Error
from moln_node.s3.target import bucket_of_host

if TYPE_CHECKING:
    import hmac
    from datetime import datetime

    from multidict import CIMultiDictProxy

    from moln_node.s3.auth.claims import Claim
    from moln_node.s3.settings import Settings
    from moln_node.s3.target import Target

UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class ChunkSigning:
    """What continues from the request's signature into its chunks."""

    signing_key: hmac.HMAC
    amz_date: str
    scope: str
    seed: str


@dataclass(frozen=True, slots=True)
class Authentication:
    """The outcome: who calls, and what the body was declared to be (a SHA-256, UNSIGNED-PAYLOAD, or STREAMING-...)."""

    identity: Identity
    content_sha256: str
    chunks: ChunkSigning | None = None
    presigned: bool = False
    algorithm: str = sigv4.ALGORITHM


@dataclass(slots=True)
class _Asked:
    """A request as its signer saw it, and what judges it."""

    method: str
    target: Target
    headers: CIMultiDictProxy[str]
    host: str
    keyring: Keyring
    settings: Settings
    now: float

    def key(self, access_key: str) -> Key:
        """The key that the signer names; InvalidAccessKeyId."""
        key = self.keyring.find(access_key, self.now)
        if key is None:
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)
        return key

    def check_clock(self, moment: datetime, shown: str) -> None:
        """RequestTimeTooSkewed if a request was signed too long before or after now."""
        if abs(moment.timestamp() - self.now) > self.settings.max_skew:
            raise S3Error(
                "RequestTimeTooSkewed",
                RequestTime=shown,
                ServerTime=xml.iso_time(int(self.now * 1000)),
                MaxAllowedSkewMilliseconds=self.settings.max_skew * 1000,
            )


def authenticate(
    method: str, target: Target, headers: CIMultiDictProxy[str], host: str, keyring: Keyring, settings: Settings
) -> Authentication:
    """Check the signature of a request; S3Error with AWS's code when it is not right, anonymous when there is none."""
    authorization = headers.get("Authorization")
    query = target.query
    in_query = "X-Amz-Algorithm" in query or "X-Amz-Signature" in query or "X-Amz-Credential" in query
    if not authorization and not in_query:
        if "AWSAccessKeyId" in query and "Signature" in query:
            raise claims.version_2()
        return Authentication(ANONYMOUS, headers.get("x-amz-content-sha256", UNSIGNED))
    if authorization and in_query:
        raise S3Error("InvalidArgument", "Only one auth mechanism allowed: the Authorization header or the query.")
    asked = _Asked(method, target, headers, host, keyring, settings, settings.now())
    if not authorization:
        return _from_query(asked)
    old = claims.read_old_header(authorization)
    return _from_header(authorization, asked) if old is None else _from_old_header(*old, asked)


def _from_header(authorization: str, asked: _Asked) -> Authentication:
    headers = asked.headers
    claim = claims.read_header(authorization)
    moment, amz_date = claims.read_date(headers)
    if amz_date[:8] != claim.scope.date:
        raise S3Error("AuthorizationHeaderMalformed", "The date in the credential is not the date of the request.")
    key = asked.key(claim.scope.access_key)
    asked.check_clock(moment, amz_date)
    content_sha256 = headers.get("x-amz-content-sha256")
    if content_sha256 is None:
        raise S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    _no_token(headers.get("x-amz-security-token"))
    signing_key = _check(claim, amz_date, content_sha256, key, asked)
    chunks = None
    if content_sha256.startswith("STREAMING-AWS4"):
        chunks = ChunkSigning(signing_key, amz_date, str(claim.scope), claim.signature)
    return Authentication(key.identity, content_sha256, chunks)


def _from_old_header(access_key: str, signature: str, asked: _Asked) -> Authentication:
    headers, target = asked.headers, asked.target
    asked.check_clock(*claims.read_old_date(headers))
    key = asked.key(access_key)
    _no_token(headers.get("x-amz-security-token"))
    if not sigv2.covers(target.query):
        raise claims.version_2()
    texts = sigv2.strings_to_sign(asked.method, target, headers, bucket_of_host(asked.host, asked.settings.domains))
    if not any(sigv4.equal(sigv2.sign(key.secret, text), signature) for text in texts):
        raise S3Error(
            "SignatureDoesNotMatch", AWSAccessKeyId=access_key, StringToSign=texts[0], SignatureProvided=signature
        )
    return Authentication(key.identity, headers.get("x-amz-content-sha256", UNSIGNED), algorithm=sigv2.ALGORITHM)


def _no_token(token: str | None) -> None:
    """Refuse session tokens: nobody here hands them out, so the signer means another service."""
    if token:
        raise S3Error("InvalidToken")


def _from_query(asked: _Asked) -> Authentication:
    query, now = asked.target.query, asked.now
    claim, moment, seconds = claims.read_query(query)
    key = asked.key(claim.scope.access_key)
    signed_at = moment.timestamp()
    if signed_at - now > asked.settings.max_skew:
        raise S3Error("AccessDenied", "Request is not valid yet: its X-Amz-Date is in the future.")
    if now > signed_at + seconds:
        raise S3Error(
            "AccessDenied",
            "Request has expired",
            Expires=xml.iso_time(int(signed_at + seconds) * 1000),
            ServerTime=xml.iso_time(int(now * 1000)),
        )
    content_sha256 = query.get("X-Amz-Content-Sha256") or asked.headers.get("x-amz-content-sha256") or UNSIGNED
    _no_token(query.get("X-Amz-Security-Token"))
    signing_key = _check(claim, query["X-Amz-Date"], content_sha256, key, asked)
    chunks = None
    if content_sha256.startswith("STREAMING-AWS4"):
        chunks = ChunkSigning(signing_key, query["X-Amz-Date"], str(claim.scope), claim.signature)
    return Authentication(key.identity, content_sha256, chunks, presigned=True)


def _check(claim: Claim, amz_date: str, content_sha256: str, key: Key, asked: _Asked) -> hmac.HMAC:
    """Compute the signature again and compare; the signing key when they are the same."""
    target, headers = asked.target, asked.headers
    _all_signed(claim.signed_headers, headers)
    signing_key = asked.keyring.signing_key(key, claim.scope.date, claim.scope.region, claim.scope.service)
    tail = (
        f"{sigv4.canonical_query(target.pairs)}\n"
        f"{sigv4.canonical_headers(headers, claim.signed_headers, {'host': asked.host})}\n"
        f"{';'.join(claim.signed_headers)}\n"
        f"{content_sha256}"
    )
    canonical = sigv4.canonical_path(target.path)
    # Some clients sign the path as they send it (with %2F, say) instead of in S3's own encoding: both name this key.
    for path in (canonical,) if canonical == target.path else (canonical, target.path):
        request = f"{asked.method}\n{path}\n{tail}"
        text = sigv4.string_to_sign(amz_date, claim.scope, request)
        if sigv4.equal(sigv4.sign(signing_key, text), claim.signature):
            return signing_key
    raise S3Error(
        "SignatureDoesNotMatch",
        AWSAccessKeyId=claim.scope.access_key,
        StringToSign=text,
        SignatureProvided=claim.signature,
        CanonicalRequest=request,
    )


def _all_signed(signed: tuple[str, ...], headers: CIMultiDictProxy[str]) -> None:
    """Refuse a request with a header that S3 obeys and that the signer never saw."""
    if "host" not in signed:
        raise S3Error("SignatureDoesNotMatch", "The host header must be signed.")
    unsigned = [
        name
        for name in map(str.lower, headers)
        if name.startswith("x-amz-") and name not in signed and name != "x-amz-content-sha256"
    ]
    if unsigned:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=", ".join(sorted(unsigned)),
        )
