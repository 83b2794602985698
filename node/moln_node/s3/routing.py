"""Every operation of S3 in one table: method and sub-resource -> operation. What has no handler answers 501.

Read by `moln_node.s3.app`. To add an operation, put its handler into its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.s3 import (
    attributes,
    bucket_tagging,
    buckets,
    completion,
    copy,
    cors,
    lifecycle,
    listing,
    multi_delete,
    multipart,
    post_object,
    quota,
    reading,
    tagging,
    unbuilt,
    upload_listing,
    writing,
)
from moln_node.s3.access_log import configuration as access_log
from moln_node.s3.acl import controls
from moln_node.s3.acl import handlers as acl
from moln_node.s3.errors import S3Error
from moln_node.s3.lock import configuration as lock_configuration
from moln_node.s3.lock import handlers as lock
from moln_node.s3.operation import Operation
from moln_node.s3.policy import handlers as policy
from moln_node.s3.sse import configuration as encryption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDictProxy

    from moln_node.s3.target import Target

    Table = Mapping[tuple[str, str], Operation]

SERVICE: Table = {
    ("GET", ""): Operation("ListBuckets", "s3:ListAllMyBuckets", buckets.list_buckets),
}

BUCKET: Table = {
    ("PUT", ""): Operation("CreateBucket", "s3:CreateBucket", buckets.create_bucket),
    ("HEAD", ""): Operation("HeadBucket", "s3:ListBucket", buckets.head_bucket),
    ("DELETE", ""): Operation("DeleteBucket", "s3:DeleteBucket", buckets.delete_bucket),
    ("GET", ""): Operation("ListObjects", "s3:ListBucket", listing.list_objects),
    ("GET", "list-type"): Operation("ListObjectsV2", "s3:ListBucket", listing.list_objects_v2),
    ("GET", "versions"): Operation("ListObjectVersions", "s3:ListBucketVersions", listing.list_object_versions),
    ("GET", "uploads"): Operation(
        "ListMultipartUploads", "s3:ListBucketMultipartUploads", upload_listing.list_multipart_uploads
    ),
    ("POST", "delete"): Operation("DeleteObjects", "s3:DeleteObject", multi_delete.delete_objects, checked=False),
    ("POST", ""): Operation("PostObject", "s3:PutObject", post_object.post_object, checked=False, signed=False),
    ("GET", "location"): Operation("GetBucketLocation", "s3:GetBucketLocation", buckets.get_bucket_location),
    ("GET", "logging"): Operation("GetBucketLogging", "s3:GetBucketLogging", access_log.get_logging),
    ("PUT", "logging"): Operation("PutBucketLogging", "s3:PutBucketLogging", access_log.put_logging),
    ("GET", "versioning"): Operation("GetBucketVersioning", "s3:GetBucketVersioning", buckets.get_bucket_versioning),
    ("PUT", "versioning"): Operation("PutBucketVersioning", "s3:PutBucketVersioning", buckets.put_bucket_versioning),
    ("GET", "lifecycle"): Operation(
        "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", lifecycle.get_lifecycle
    ),
    ("PUT", "lifecycle"): Operation(
        "PutBucketLifecycleConfiguration", "s3:PutLifecycleConfiguration", lifecycle.put_lifecycle
    ),
    ("DELETE", "lifecycle"): Operation(
        "DeleteBucketLifecycle", "s3:PutLifecycleConfiguration", lifecycle.delete_lifecycle
    ),
    ("GET", "policy"): Operation("GetBucketPolicy", "s3:GetBucketPolicy", policy.get_policy),
    ("PUT", "policy"): Operation("PutBucketPolicy", "s3:PutBucketPolicy", policy.put_policy),
    ("DELETE", "policy"): Operation("DeleteBucketPolicy", "s3:DeleteBucketPolicy", policy.delete_policy),
    ("GET", "policyStatus"): Operation("GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", policy.get_policy_status),
    ("GET", "cors"): Operation("GetBucketCors", "s3:GetBucketCORS", cors.get_cors),
    ("PUT", "cors"): Operation("PutBucketCors", "s3:PutBucketCORS", cors.put_cors),
    ("DELETE", "cors"): Operation("DeleteBucketCors", "s3:PutBucketCORS", cors.delete_cors),
    ("GET", "acl"): Operation("GetBucketAcl", "s3:GetBucketAcl", acl.get_bucket_acl),
    ("PUT", "acl"): Operation("PutBucketAcl", "s3:PutBucketAcl", acl.put_bucket_acl),
    ("GET", "tagging"): Operation("GetBucketTagging", "s3:GetBucketTagging", bucket_tagging.get_bucket_tagging),
    ("PUT", "tagging"): Operation("PutBucketTagging", "s3:PutBucketTagging", bucket_tagging.put_bucket_tagging),
    ("DELETE", "tagging"): Operation(
        "DeleteBucketTagging", "s3:PutBucketTagging", bucket_tagging.delete_bucket_tagging
    ),
    ("GET", "ownershipControls"): Operation(
        "GetBucketOwnershipControls", "s3:GetBucketOwnershipControls", controls.get_ownership_controls
    ),
    ("PUT", "ownershipControls"): Operation(
        "PutBucketOwnershipControls", "s3:PutBucketOwnershipControls", controls.put_ownership_controls
    ),
    ("DELETE", "ownershipControls"): Operation(
        "DeleteBucketOwnershipControls", "s3:PutBucketOwnershipControls", controls.delete_ownership_controls
    ),
    ("GET", "publicAccessBlock"): Operation(
        "GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", controls.get_public_access_block
    ),
    ("PUT", "publicAccessBlock"): Operation(
        "PutPublicAccessBlock", "s3:PutBucketPublicAccessBlock", controls.put_public_access_block
    ),
    ("DELETE", "publicAccessBlock"): Operation(
        "DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock", controls.delete_public_access_block
    ),
    ("GET", "encryption"): Operation("GetBucketEncryption", "s3:GetEncryptionConfiguration", encryption.get_encryption),
    ("PUT", "encryption"): Operation("PutBucketEncryption", "s3:PutEncryptionConfiguration", encryption.put_encryption),
    ("DELETE", "encryption"): Operation(
        "DeleteBucketEncryption", "s3:PutEncryptionConfiguration", encryption.delete_encryption
    ),
    ("GET", "object-lock"): Operation(
        "GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", lock_configuration.get_object_lock
    ),
    ("PUT", "object-lock"): Operation(
        "PutObjectLockConfiguration", "s3:PutBucketObjectLockConfiguration", lock_configuration.put_object_lock
    ),
    ("GET", "quota"): Operation("GetBucketQuota", "s3:GetBucketQuota", quota.get_quota),
    ("PUT", "quota"): Operation("PutBucketQuota", "s3:PutBucketQuota", quota.put_quota),
    **unbuilt.BUCKET,
    ("OPTIONS", ""): Operation("Preflight", "", cors.preflight, checked=False, signed=False),
    ("DELETE", "quota"): Operation("DeleteBucketQuota", "s3:PutBucketQuota", quota.delete_quota),
}

OBJECT: Table = {
    ("OPTIONS", ""): Operation("Preflight", "", cors.preflight, checked=False, signed=False),
    ("GET", ""): Operation("GetObject", "s3:GetObject", reading.get_object, version_action="s3:GetObjectVersion"),
    ("HEAD", ""): Operation("HeadObject", "s3:GetObject", reading.head_object, version_action="s3:GetObjectVersion"),
    ("PUT", ""): Operation("PutObject", "s3:PutObject", writing.put_object),
    ("PUT", "copy"): Operation("CopyObject", "s3:PutObject", copy.copy_object),
    ("DELETE", ""): Operation(
        "DeleteObject", "s3:DeleteObject", writing.delete_object, version_action="s3:DeleteObjectVersion"
    ),
    ("POST", "uploads"): Operation("CreateMultipartUpload", "s3:PutObject", multipart.create_multipart_upload),
    ("PUT", "uploadId"): Operation("UploadPart", "s3:PutObject", multipart.upload_part),
    ("PUT", "uploadId-copy"): Operation("UploadPartCopy", "s3:PutObject", multipart.upload_part_copy),
    ("POST", "uploadId"): Operation("CompleteMultipartUpload", "s3:PutObject", completion.complete_multipart_upload),
    ("DELETE", "uploadId"): Operation(
        "AbortMultipartUpload", "s3:AbortMultipartUpload", multipart.abort_multipart_upload
    ),
    ("GET", "uploadId"): Operation("ListParts", "s3:ListMultipartUploadParts", upload_listing.list_parts),
    ("GET", "attributes"): Operation(
        "GetObjectAttributes", "s3:GetObject", attributes.get_object_attributes, version_action="s3:GetObjectVersion"
    ),
    ("GET", "tagging"): Operation(
        "GetObjectTagging",
        "s3:GetObjectTagging",
        tagging.get_object_tagging,
        version_action="s3:GetObjectVersionTagging",
    ),
    ("PUT", "tagging"): Operation(
        "PutObjectTagging",
        "s3:PutObjectTagging",
        tagging.put_object_tagging,
        version_action="s3:PutObjectVersionTagging",
    ),
    ("DELETE", "tagging"): Operation(
        "DeleteObjectTagging",
        "s3:DeleteObjectTagging",
        tagging.delete_object_tagging,
        version_action="s3:DeleteObjectVersionTagging",
    ),
    ("GET", "retention"): Operation("GetObjectRetention", "s3:GetObjectRetention", lock.get_retention),
    ("PUT", "retention"): Operation("PutObjectRetention", "s3:PutObjectRetention", lock.put_retention, checked=False),
    ("GET", "legal-hold"): Operation("GetObjectLegalHold", "s3:GetObjectLegalHold", lock.get_legal_hold),
    ("PUT", "legal-hold"): Operation("PutObjectLegalHold", "s3:PutObjectLegalHold", lock.put_legal_hold, checked=False),
    ("GET", "acl"): Operation(
        "GetObjectAcl", "s3:GetObjectAcl", acl.get_object_acl, version_action="s3:GetObjectVersionAcl"
    ),
    ("PUT", "acl"): Operation(
        "PutObjectAcl", "s3:PutObjectAcl", acl.put_object_acl, version_action="s3:PutObjectVersionAcl"
    ),
    **unbuilt.OBJECT,
}

# Sub-resources of S3 that are not built: known, so that they answer 501 and are never taken for something else.
_BUCKET_UNBUILT = (
    "abac", "accelerate", "analytics", "intelligent-tiering", "inventory",
    "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable",
    "metadataTable", "metrics", "notification", "replication", "requestPayment", "session", "website",
)  # fmt: skip
_OBJECT_UNBUILT = (
    "annotation", "encryption", "renameObject", "select", "torrent",
)  # fmt: skip
_CHANGING = frozenset({"PUT", "POST", "DELETE"})
_PARAMETERS = frozenset({"versionId", "uploadId", "partNumber"})

_BUCKET_NAMES = frozenset(name for _, name in BUCKET if name) | frozenset(_BUCKET_UNBUILT)
_OBJECT_NAMES = frozenset(name for _, name in OBJECT if name) | frozenset(_OBJECT_UNBUILT)
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})


def find(method: str, target: Target, headers: CIMultiDictProxy[str]) -> Operation:
    """The operation that a request asks for, which may be one that is not built; S3Error MethodNotAllowed."""
    if not target.bucket:
        table, names = SERVICE, frozenset[str]()
    elif not target.key:
        table, names = BUCKET, _BUCKET_NAMES
    else:
        table, names = OBJECT, _OBJECT_NAMES
    asked = [name for name in target.query if name in names] if target.query and method != "OPTIONS" else []
    if len(asked) > 1:
        raise S3Error("InvalidArgument", f"Ask for one sub-resource at a time, not for {' and '.join(asked)}.")
    sub = asked[0] if asked else ""
    if method == "PUT" and table is OBJECT and sub in {"", "uploadId"} and "x-amz-copy-source" in headers:
        sub = f"{sub}-copy" if sub else "copy"
    operation = table.get((method, sub))
    if operation is None:
        if sub in _BUCKET_UNBUILT or sub in _OBJECT_UNBUILT:
            return _unbuilt(method, sub)
        if method not in _METHODS:
            raise S3Error("MethodNotAllowed", f"The method {method} is not allowed.")
        raise S3Error("MethodNotAllowed", Method=method, ResourceType=sub.upper() or "SERVICE")
    unknown = _unknown(target, names) if method in _CHANGING and target.query else ""
    return _unbuilt(method, unknown) if unknown else operation


def _unbuilt(method: str, sub: str) -> Operation:
    """What answers 501, but only to those whom it would answer at all if it were built: the owner, as it is."""
    return Operation("Unbuilt", "s3:GetUnbuilt" if method in {"GET", "HEAD"} else "s3:PutUnbuilt", asked=sub)


def _unknown(target: Target, names: frozenset[str]) -> str:
    """A bare name that S3 may know and moln does not: a `DELETE ?annotation` must never delete the object itself."""
    for name, value in target.query.items():
        if not value and name not in names and name not in _PARAMETERS and not name.lower().startswith("x-"):
            return name
    return ""
