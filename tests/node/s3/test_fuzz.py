"""Signed nonsense: whatever somebody with a key sends to any operation, the answer is never an error of ours.

What a stranger can send is in test_front; here the signature is right, so that every handler and parser is reached.
MOLN_FUZZ_EXAMPLES sets how many requests are tried (150).
"""

from __future__ import annotations

import http.client
import json
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moln_node.s3 import routing

if TYPE_CHECKING:
    from .conftest import Server

EXAMPLES = int(os.environ.get("MOLN_FUZZ_EXAMPLES", "150"))
_BUCKET = "fuzzed-by-its-owner"
_CREDENTIALS = Credentials("MAINKEY", "main-secret-key")


def send(server: Server, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Send a request of the ordinary key, signed as S3 wants it but for the body."""
    request = AWSRequest(method, f"{server.url}{path}", headers=headers, data=body)
    request.context["payload_signing_enabled"] = False
    S3SigV4Auth(_CREDENTIALS, "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    try:
        connection.request(method, path, body, dict(request.headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


_TAGS = st.sampled_from(
    ["Tagging", "TagSet", "Tag", "Key", "Value", "CORSConfiguration", "CORSRule", "AllowedOrigin", "AllowedMethod",
     "AccessControlPolicy", "AccessControlList", "Owner", "ID", "Grant", "Grantee", "Permission", "Delete", "Object",
     "Quiet", "VersionId", "ETag", "Size", "LastModifiedTime", "VersioningConfiguration", "Status", "MFADelete",
     "CompleteMultipartUpload", "Part", "PartNumber", "ChecksumCRC32", "LifecycleConfiguration", "Rule", "Filter",
     "Prefix", "And", "Expiration", "Days", "Date", "Transition", "NoncurrentVersionExpiration", "NoncurrentDays",
     "AbortIncompleteMultipartUpload", "DaysAfterInitiation", "ObjectSizeGreaterThan", "CreateBucketConfiguration",
     "LocationConstraint", "OwnershipControls", "ObjectOwnership", "PublicAccessBlockConfiguration", "BlockPublicAcls",
     "QuotaConfiguration", "Bytes", "ServerSideEncryptionConfiguration", "ApplyServerSideEncryptionByDefault",
     "SSEAlgorithm", "KMSMasterKeyID", "BucketKeyEnabled", "ObjectLockConfiguration", "ObjectLockEnabled",
     "DefaultRetention", "Mode", "Years", "Retention", "RetainUntilDate", "LegalHold", "BucketLoggingStatus",
     "LoggingEnabled", "TargetBucket", "TargetPrefix", "TargetGrants", "TargetObjectKeyFormat", "SimplePrefix",
     "PartitionedPrefix", "PartitionDateSource", "Type", "URI", "EmailAddress"]
)  # fmt: skip
_WORDS = st.sampled_from(
    ["", "Enabled", "Suspended", "true", "false", "-1", "0", "1", "99999999999999999999", "1.5", "2026-01-01T00:00:00Z",
     "GET", "*", "READ", "main-id", "key", "null", "main-id ", "\n", "ä", "x" * 2000, "BucketOwnerEnforced", "Nan",
     "GOVERNANCE", "COMPLIANCE", "ON", "AES256", "aws:kms", "first", _BUCKET, "EventTime"]
)  # fmt: skip
_ELEMENTS = st.recursive(
    st.builds(lambda tag, text: f"<{tag}>{text}</{tag}>", _TAGS, _WORDS),
    lambda inner: st.builds(lambda tag, each: f"<{tag}>{''.join(each)}</{tag}>", _TAGS, st.lists(inner, max_size=4)),
    max_leaves=12,
)
_ROOTS = {
    "acl": ("AccessControlPolicy",), "tagging": ("Tagging",), "cors": ("CORSConfiguration",), "delete": ("Delete",),
    "versioning": ("VersioningConfiguration",), "lifecycle": ("LifecycleConfiguration",),
    "uploadId": ("CompleteMultipartUpload",), "ownershipControls": ("OwnershipControls",),
    "publicAccessBlock": ("PublicAccessBlockConfiguration",), "quota": ("QuotaConfiguration",),
    "encryption": ("ServerSideEncryptionConfiguration",), "object-lock": ("ObjectLockConfiguration",),
    "retention": ("Retention",), "legal-hold": ("LegalHold",), "logging": ("BucketLoggingStatus",),
}  # fmt: skip
# fmt: off
_HEADER_NAMES = st.sampled_from(
    ["Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Content-MD5", "Content-Type",
     "Expires", "x-amz-acl", "x-amz-grant-read", "x-amz-tagging", "x-amz-storage-class", "x-amz-checksum-crc32",
     "x-amz-checksum-algorithm", "x-amz-checksum-type", "x-amz-checksum-mode", "x-amz-sdk-checksum-algorithm",
     "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-copy-source-if-match", "x-amz-metadata-directive",
     "x-amz-meta-a", "x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker", "x-amz-trailer",
     "x-amz-mp-object-size", "x-amz-if-match-size", "x-amz-if-match-last-modified-time", "x-amz-object-ownership",
     "x-amz-decoded-content-length", "x-amz-expected-bucket-owner", "x-amz-bypass-governance-retention",
     "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
     "x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-customer-key",
     "x-amz-server-side-encryption-customer-key-md5", "x-amz-server-side-encryption-context",
     "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold",
     "x-amz-bucket-object-lock-enabled"]
)
_HEADER_VALUES = st.one_of(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    st.sampled_from(
        ["bytes=0-", "bytes=-1", "bytes=5-1", "*", '"', "0", "-1", "CRC32", "COMPOSITE", "REPLACE", "private",
         "a=b&a=b", f"/{_BUCKET}/k", f"{_BUCKET}/k?versionId=null", "ETag,ObjectParts", "main-id",
         "Sun, 06 Nov 1994 08:49:37 GMT", "99999999999999999999", "AES256", "aws:kms", "first", "GOVERNANCE", "ON",
         "2020-01-01T00:00:00Z", "true", "A" * 43 + "=", "DWygnHRtgiJ77HCm+1rvHw=="]
    ),
)
# fmt: on
_HEADERS = st.dictionaries(_HEADER_NAMES, _HEADER_VALUES, max_size=5)
_PARAMETERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["versionId", "partNumber", "prefix", "delimiter", "marker", "max-keys", "max-uploads", "max-parts",
             "key-marker", "version-id-marker", "upload-id-marker", "part-number-marker", "continuation-token",
             "start-after", "encoding-type", "fetch-owner", "response-content-type", "x-id", "max-buckets", "uploadId"]
        ),
        st.one_of(_WORDS, st.text(max_size=6)),
    ),
    max_size=3,
)  # fmt: skip


_PARTS = st.recursive(
    st.one_of(
        st.sampled_from(
            ["Allow", "Deny", "*", "s3:*", "s3:GetObject", f"arn:aws:s3:::{_BUCKET}/*", "main-id", "2012-10-17", "${x}",
             "10.0.0.0/8", "true", "arn:aws:iam:::user/alt-id", ""]
        ),
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["Version", "Id", "Statement", "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction",
                 "Resource", "NotResource", "Condition", "AWS", "CanonicalUser", "Service", "StringEquals",
                 "StringLikeIfExists", "ForAllValues:StringLike", "IpAddress", "NumericLessThan", "DateGreaterThan",
                 "Bool", "Null", "aws:SourceIp", "s3:prefix", "s3:max-keys", "aws:CurrentTime",
                 "s3:ExistingObjectTag/a"]
            ),
            inner, max_size=4,
        ),
    ),
    max_leaves=14,
)  # fmt: skip
_POLICIES = st.builds(lambda statement: json.dumps({"Version": "2012-10-17", "Statement": statement}).encode(), _PARTS)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes]:
    """A request for some operation of the table, with parameters, headers and a body that may or may not fit."""
    level, table = draw(st.sampled_from([("/", routing.SERVICE), (f"/{_BUCKET}", routing.BUCKET),
                                         (f"/{_BUCKET}/k", routing.OBJECT)]))  # fmt: skip
    method, sub = draw(st.sampled_from(sorted(table)))
    query = [(sub.removesuffix("-copy"), "1")] if sub and sub != "copy" else []
    query += draw(_PARAMETERS)
    path = level + ("?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query) if query else "")
    headers = draw(_HEADERS)
    if sub in {"copy", "uploadId-copy"}:
        headers.setdefault("x-amz-copy-source", f"{_BUCKET}/k")
    inner = "".join(draw(st.lists(_ELEMENTS, max_size=3)))
    root = draw(st.sampled_from(_ROOTS.get(sub, ("Any",))))
    fitting = _POLICIES if sub == "policy" else st.just(f"<{root}>{inner}</{root}>".encode())
    body = draw(st.one_of(fitting, fitting, st.binary(max_size=60), st.just(b"")))
    return method, path, headers, body if method in {"PUT", "POST"} else b""


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(requests())
def test_signed_nonsense(server: Server, request_parts: tuple[str, str, dict[str, str], bytes]) -> None:
    """Every operation answers anything with success or 4xx; 501 and 507 are said on purpose, 500 never is."""
    send(server, "PUT", f"/{_BUCKET}", {}, b"")
    send(server, "PUT", f"/{_BUCKET}/k", {}, b"content")
    status, body = send(server, *request_parts)
    assert status < 500 or status in {501, 507}, (request_parts, body)
