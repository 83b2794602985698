"""A line of an access log, in the form that S3 documents ("Amazon S3 server access log format"). Pure.

Fields that are not known are `-`. What a client wrote is encoded so that it ends neither its field nor its line, and
the signature of a presigned URL is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGNATURE: Final = re.compile(r"((?:^|[?&])(?:X-Amz-Signature|Signature|X-Amz-Security-Token)=)[^&]*", re.IGNORECASE)
_UNQUOTED: Final = re.compile(r'["\\\x00-\x20\x7f-\U0010ffff]')  # within quotes a space may stand, but see `_quoted`
_RESOURCES: Final[Mapping[str, str]] = {
    "acl": "ACL",
    "attributes": "OBJECT_ATTRIBUTES",
    "cors": "CORS",
    "delete": "MULTI_OBJECT_DELETE",
    "encryption": "ENCRYPTION",
    "legal-hold": "OBJECT_LOCK_LEGALHOLD",
    "lifecycle": "LIFECYCLE",
    "location": "LOCATION",
    "logging": "LOGGING_STATUS",
    "notification": "NOTIFICATION",
    "object-lock": "OBJECT_LOCK_CONFIGURATION",
    "ownershipControls": "OWNERSHIP_CONTROLS",
    "policy": "BUCKETPOLICY",
    "policyStatus": "BUCKETPOLICYSTATUS",
    "publicAccessBlock": "PUBLIC_ACCESS_BLOCK",
    "replication": "REPLICATION",
    "requestPayment": "REQUEST_PAYMENT",
    "retention": "OBJECT_LOCK_RETENTION",
    "uploads": "UPLOADS",
    "versioning": "VERSIONING",
    "versions": "BUCKETVERSIONS",
    "website": "WEBSITE",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One answered request. Times are seconds, sizes bytes; the empty text and None mean that it is not known."""

    owner: str
    bucket: str
    moment: float
    remote: str
    requester: str
    request_id: str
    host_id: str
    method: str
    key: str
    query: Mapping[str, str]
    copies: bool
    request_uri: str  # as sent
    status: int
    error: str
    sent: int
    object_size: int | None
    seconds: float
    referrer: str
    user_agent: str
    signature_version: str
    auth_type: str
    host: str
    cipher: str
    tls_version: str
    what: str = ""  # S3's word for it, where it is not what the request line asks for

    def render(self) -> str:
        """The line, with its end."""
        when = datetime.fromtimestamp(self.moment, UTC)
        uri = _SIGNATURE.sub(r"\1-", self.request_uri)
        fields = (
            _plain(self.owner),
            self.bucket,
            f"[{when:%d/%b/%Y:%H:%M:%S} +0000]",
            _plain(self.remote),
            _plain(self.requester),
            self.request_id,
            self.what or operation(self.method, self.key, self.query, copies=self.copies),
            _plain(quote(self.key)),
            _quoted(f"{self.method} {uri} HTTP/1.1"),
            str(self.status),
            _plain(self.error),
            str(self.sent) if self.sent else "-",
            "-" if self.object_size is None else str(self.object_size),
            str(round(self.seconds * 1000)),
            "-",
            _quoted(self.referrer),
            _quoted(self.user_agent),
            _plain(quote(self.query.get("versionId", ""))),
            self.host_id,
            _plain(self.signature_version),
            _plain(self.cipher),
            _plain(self.auth_type),
            _plain(self.host),
            _plain(self.tls_version),
            "-",
            "-",
        )
        return f"{' '.join(fields)}\n"


def operation(method: str, key: str, query: Mapping[str, str], *, copies: bool = False) -> str:
    """What was asked for, in S3's words: REST.GET.OBJECT, REST.PUT.BUCKETPOLICY, ..."""
    if method == "OPTIONS":
        return "REST.OPTIONS.PREFLIGHT"
    if "uploadId" in query:
        part = "partNumber" in query
        return f"REST.{'COPY' if copies else method}.{'PART' if part else 'UPLOAD'}"
    if copies and method == "PUT":
        return "REST.COPY.OBJECT"
    if "tagging" in query:
        return f"REST.{method}.{'OBJECT_TAGGING' if key else 'TAGGING'}"
    asked = next((name for name in query if name in _RESOURCES), None)
    resource = _RESOURCES[asked] if asked is not None else "OBJECT" if key or method == "POST" else "BUCKET"
    return f"REST.{method}.{resource}"


def _encoded(match: re.Match[str]) -> str:
    return quote(match.group(), safe="", errors="surrogateescape")


def _plain(text: str) -> str:
    return _UNQUOTED.sub(_encoded, text) or "-"


def _quoted(text: str) -> str:
    return f'"{" ".join(_UNQUOTED.sub(_encoded, word) for word in text.split(" ")) or "-"}"'
