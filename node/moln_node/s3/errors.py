"""S3's error codes: what each means on the wire, and which one a store's refusal becomes.

Raised anywhere in `s3/`; turned into a response in one place (`moln_node.s3.app`). Messages reach clients: they say
what was wrong and what to do, and never hold a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.cluster.errors import UnavailableError
from moln_node.s3 import xml
from moln_node.store import errors as store

if TYPE_CHECKING:
    from collections.abc import Mapping

# code: (HTTP status, the sentence used where the place of the error has none of its own)
CODES: Mapping[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs."),
    "AccessDenied": (403, "Access Denied"),
    "AccessForbidden": (403, "CORSResponse: This CORS request is not allowed."),
    "AuthorizationHeaderMalformed": (400, "The authorization header that you provided is not valid."),
    "AuthorizationQueryParametersError": (400, "The authorization query parameters that you provided are not valid."),
    "BadRequest": (400, "The request is not valid."),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match what the server received."),
    "BucketAlreadyExists": (409, "The requested bucket name is not available. Select a different name and try again."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "ConditionalRequestConflict": (409, "A conflicting operation occurred. Try again."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed object size."),
    "ExpiredToken": (400, "The provided token has expired."),
    "IllegalVersioningConfigurationException": (400, "The versioning configuration is not valid."),
    "IncompleteBody": (400, "The number of bytes received is not the number that the request's headers declared."),
    "InternalError": (500, "An internal error occurred. Try again."),
    "InvalidAccessKeyId": (403, "The access key ID that you provided does not exist in our records."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketAclWithObjectOwnership": (
        400,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    ),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidChunkSizeError": (403, "Only the last chunk is allowed to have a size less than 8192 bytes"),
    "InvalidBucketState": (409, "The request is not valid for the current state of the bucket."),
    "InvalidDigest": (400, "The Content-MD5 or checksum value that you specified is not valid."),
    "InvalidLocationConstraint": (400, "The specified location constraint is not valid."),
    "InvalidObjectState": (403, "The operation is not valid for the current state of the object."),
    "InvalidPart": (
        400,
        (
            "One or more of the specified parts could not be found. The part might not have been "
            "uploaded, or the specified entity tag might not have matched the part's entity tag."
        ),
    ),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order. Parts must be ordered by part number."),
    "InvalidPolicyDocument": (400, "The content of the form does not meet the conditions of the policy document."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "The request is not valid."),
    "InvalidRetentionPeriod": (400, "The retention period is not valid: a whole number, at most 100 years."),
    "InvalidStorageClass": (400, "The storage class you specified is not valid"),
    "InvalidTag": (400, "The tag provided was not a valid tag. It may be too long, or hold characters not allowed."),
    "InvalidTargetBucketForLogging": (400, "The target bucket for logging does not exist or is not yours."),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "InvalidToken": (400, "The provided token is malformed or otherwise invalid: there are no session tokens here."),
    "KMS.NotFoundException": (400, "The key that objects should be encrypted under does not exist."),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedACLError": (400, "The ACL that you provided was not well formed or did not validate."),
    "MalformedPOSTRequest": (400, "The body of your POST request is not well-formed multipart/form-data."),
    "MalformedPolicy": (400, "This policy contains invalid Json"),
    "MalformedTrailerError": (400, "The request contained trailing data that was not well-formed."),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "MaxMessageLengthExceeded": (400, "Your request was too big."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size"),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "Request body is empty."),
    "MissingSecurityHeader": (400, "Your request is missing a required header."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
    "NoSuchConfiguration": (404, "The specified configuration does not exist."),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist"),
    "NoSuchPublicAccessBlockConfiguration": (404, "The public access block configuration was not found"),
    "NoSuchObjectLockConfiguration": (404, "The specified object does not have a ObjectLock configuration"),
    "NoSuchTagSet": (404, "The TagSet does not exist"),
    "NoSuchUpload": (
        404,
        (
            "The specified multipart upload does not exist. The upload ID might be invalid, or the "
            "multipart upload might have been aborted or completed."
        ),
    ),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (404, "The specified bucket does not have a website configuration"),
    "NotImplemented": (
        501,
        "A header or query parameter that you provided implies functionality that is not implemented.",
    ),
    "NotModified": (304, "Not Modified"),
    "ObjectLockConfigurationNotFoundError": (404, "Object Lock configuration does not exist for this bucket"),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found"),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "QuotaExceeded": (507, "The write would put the bucket or the node over its quota. Delete something first."),
    "ReplicationConfigurationNotFoundError": (404, "The replication configuration was not found"),
    "RequestHeaderSectionTooLarge": (400, "Your request header section exceeds the maximum allowed size."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period.",
    ),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The server side encryption configuration was not found"),
    "ServiceUnavailable": (503, "Service is unable to handle request. Try again."),
    "SignatureDoesNotMatch": (
        403,
        (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        ),
    ),
    "SlowDown": (503, "Please reduce your request rate."),
    "StorageFull": (507, "The storage has no room besides its reserve: delete something, or grow its volumes."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than are allowed."),
    "UnexpectedContent": (400, "This request does not support content"),
    "UnresolvableGrantByEmailAddress": (400, "Grants by e-mail address are not supported: name a canonical id."),
    "UnsupportedAcl": (400, "This ACL is not supported."),
    "XAmzContentChecksumMismatch": (400, "The provided checksum does not match what was computed."),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
}


class S3Error(Exception):
    """A refusal in S3's words.

    `code` is one of AWS's; `status` overrides the table's; `extra` become further elements of the XML (in order), and
    `headers` are added to the response (x-amz-delete-marker, ...). 304 and HEAD answer without a body.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        **extra: str | int,
    ) -> None:
        known_status, sentence = CODES.get(code, (400, code))
        super().__init__(message or sentence)
        self.code = code
        self.message = message or sentence
        self.status = status or known_status
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self, resource: str, request_id: str, host_id: str) -> bytes:
        """The XML body that S3 sends with this error."""
        return xml.document(
            "Error",
            xml.leaf("Code", self.code),
            xml.leaf("Message", self.message),
            *(xml.leaf(name, value) for name, value in self.extra.items()),
            xml.leaf("Resource", resource),
            xml.leaf("RequestId", request_id),
            xml.leaf("HostId", host_id),
            namespace="",
        )


_SIMPLE: Mapping[type[store.StoreError], str] = {
    store.NoSuchBucketError: "NoSuchBucket",
    store.BucketExistsError: "BucketAlreadyExists",
    store.BucketNotEmptyError: "BucketNotEmpty",
    store.NoSuchVersionError: "NoSuchVersion",
    store.NoSuchUploadError: "NoSuchUpload",
    store.InvalidPartError: "InvalidPart",
    store.PreconditionFailedError: "PreconditionFailed",
    store.QuotaExceededError: "QuotaExceeded",
    store.StorageFullError: "StorageFull",
    store.CorruptError: "InternalError",
    store.IncompleteBodyError: "IncompleteBody",
    store.DiskFailedError: "ServiceUnavailable",
    UnavailableError: "ServiceUnavailable",
}


# those whose own words are the best
_TOLD: Mapping[type[store.StoreError], str] = {
    store.ObjectLockedError: "AccessDenied",
    store.BucketStateError: "InvalidBucketState",
}


def from_store(error: store.StoreError, bucket: str, key: str) -> S3Error:
    """What a store's refusal is called in S3."""
    if isinstance(error, store.NoSuchKeyError):
        headers = (
            {"x-amz-delete-marker": "true", "x-amz-version-id": error.delete_marker} if error.delete_marker else None
        )
        return S3Error("NoSuchKey", headers=headers, Key=key)
    if isinstance(error, store.IsDeleteMarkerError):
        headers = {
            "x-amz-delete-marker": "true",
            "x-amz-version-id": error.version_id,
            "Last-Modified": xml.http_time(error.modified_ms),
            "Allow": "DELETE",
        }
        return S3Error("MethodNotAllowed", headers=headers, ResourceType="DeleteMarker")
    if isinstance(error, store.NoSuchBucketError | store.BucketExistsError | store.BucketNotEmptyError):
        return S3Error(_SIMPLE[type(error)], BucketName=bucket)
    if type(error) in _TOLD:
        return S3Error(_TOLD[type(error)], f"{error}")
    if isinstance(error, store.CorruptError):
        return S3Error("InternalError", "The stored bytes failed their checksum, so they are not served.")
    return S3Error(_SIMPLE.get(type(error), "InternalError"))
