"""AWS Signature Version 2 in the Authorization header, the pure part: HMAC-SHA1 over what is left of a request.

It covers the method, four headers, every `x-amz-` header, the path as it was sent, and the sub-resources that S3 had
when it was young. Taken because old tools know nothing else; refused for whatever it would leave unsigned: a request
for a newer sub-resource could be made of an older one by whoever hears it. Called by `authenticate`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

    from moln_node.s3.target import Target

ALGORITHM: Final = "AWS"
# what is signed of a query, as the SDKs that still sign so have it
_SIGNED: Final = frozenset({
    "accelerate", "acl", "analytics", "cors", "defaultObjectAcl", "delete", "inventory", "lifecycle", "location",
    "logging", "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
    "response-cache-control", "response-content-disposition", "response-content-encoding",
    "response-content-language", "response-content-type", "response-expires", "restore", "select", "select-type",
    "storageClass", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
})  # fmt: skip
# what chooses among answers of the same operation, and so need not be signed
_HARMLESS: Final = frozenset({
    "continuation-token", "delimiter", "encoding-type", "fetch-owner", "key-marker", "list-type", "marker",
    "max-buckets", "max-keys", "max-parts", "max-uploads", "part-number-marker", "prefix", "start-after",
    "upload-id-marker", "version-id-marker", "x-id",
})  # fmt: skip


def covers(query: Mapping[str, str]) -> bool:
    """Whether the signature leaves out nothing of a query that means something."""
    return query.keys() <= _SIGNED | _HARMLESS


def strings_to_sign(method: str, target: Target, headers: CIMultiDictProxy[str], host_bucket: str) -> tuple[str, ...]:
    """What the signature is over; `host_bucket` is the bucket that the host names, empty in path style.

    A bucket's path has two forms: some clients sign it with a slash at its end and send it without, and both name it.
    """
    amz = sorted({name.lower() for name in headers if name.lower().startswith("x-amz-")})
    lines = "".join(f"{name}:{','.join(value.strip() for value in headers.getall(name))}\n" for name in amz)
    date = "" if "x-amz-date" in amz else headers.get("Date", "")
    named = sorted({name: value for name, value in reversed(target.pairs) if name in _SIGNED}.items())
    query = "&".join(f"{name}={value}" if value else name for name, value in named)
    path = f"/{host_bucket}{target.path}" if host_bucket else target.path
    kept = [headers.get(name, "").strip() for name in ("Content-MD5", "Content-Type")]
    head = "\n".join([method, *kept, date.strip(), lines])
    tail = f"?{query}" if query else ""
    both = target.bucket and not target.key and not path.endswith("/")
    return tuple(f"{head}{form}{tail}" for form in ((path, f"{path}/") if both else (path,)))


def sign(secret: str, text: str) -> str:
    """The signature of a string, in base64."""
    digest = hmac.digest(secret.encode(), text.encode("utf-8", "surrogateescape"), hashlib.sha1)
    return base64.b64encode(digest).decode()
