"""What S3 answers about features that a bucket does not use: all that can be said of those which are not built.

GET gives the default of AWS or its NoSuch... error, so that tools which look at every setting go on. Nothing can be
switched on: NotImplemented. To switch off what is off already succeeds, for that is how the bucket is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.s3.operation import Operation
from moln_node.s3.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call
    from moln_node.s3.operation import Handler


def _answers(root: str, *children: str) -> Handler:
    body = xml.document(root, *children)

    async def handler(_: Call) -> web.Response:
        return web.Response(body=body, content_type="application/xml")

    return handler


def _refuses(code: str) -> Handler:
    async def handler(_: Call) -> web.Response:
        raise S3Error(code)

    return handler


def _gone() -> Handler:
    async def handler(_: Call) -> web.Response:
        return web.Response(status=204)

    return handler


def _keeps(root: str, off: Callable[[Element], bool], what: str) -> Handler:
    """Takes a document that leaves everything as it is; NotImplemented for any other."""

    async def handler(call: Call) -> web.Response:
        document = await read_document(call)
        if document.tag != root:
            raise S3Error("MalformedXML")
        if not off(document):
            raise S3Error("NotImplemented", f"moln does not do {what}.")
        return web.Response()

    return handler


def _lists(root: str) -> Handler:
    """A list of configurations without one; a single one, named by id, is not there."""
    empty = _answers(root, xml.leaf("IsTruncated", value=False))
    absent = _refuses("NoSuchConfiguration")

    async def handler(call: Call) -> web.StreamResponse:
        return await (absent(call) if "id" in call.query else empty(call))

    return handler


async def _restore(call: Call) -> web.Response:
    """RestoreObject: no class is an archive, so there is nothing to restore, as S3 says of such objects."""
    await call.objects.head(call.bucket, call.key, version_of(call.query))
    raise S3Error("InvalidObjectState", "Restore is not allowed for the object's current storage class")


OBJECT: dict[tuple[str, str], Operation] = {
    ("POST", "restore"): Operation("RestoreObject", "s3:RestoreObject", _restore),
}

BUCKET: dict[tuple[str, str], Operation] = {
    (method, sub): Operation(name, action, handler)
    for method, sub, name, action, handler in (
        (
            "GET",
            "accelerate",
            "GetBucketAccelerateConfiguration",
            "s3:GetAccelerateConfiguration",
            _answers("AccelerateConfiguration"),
        ),
        (
            "PUT",
            "accelerate",
            "PutBucketAccelerateConfiguration",
            "s3:PutAccelerateConfiguration",
            _keeps(
                "AccelerateConfiguration",
                lambda document: xml.text_of(document, "Status") == "Suspended",
                "transfer acceleration",
            ),
        ),
        (
            "GET",
            "analytics",
            "GetBucketAnalyticsConfiguration",
            "s3:GetAnalyticsConfiguration",
            _lists("ListBucketAnalyticsConfigurationResult"),
        ),
        (
            "DELETE",
            "analytics",
            "DeleteBucketAnalyticsConfiguration",
            "s3:PutAnalyticsConfiguration",
            _refuses("NoSuchConfiguration"),
        ),
        (
            "GET",
            "intelligent-tiering",
            "GetBucketIntelligentTieringConfiguration",
            "s3:GetIntelligentTieringConfiguration",
            _lists("ListBucketIntelligentTieringConfigurationsOutput"),
        ),
        (
            "DELETE",
            "intelligent-tiering",
            "DeleteBucketIntelligentTieringConfiguration",
            "s3:PutIntelligentTieringConfiguration",
            _refuses("NoSuchConfiguration"),
        ),
        (
            "GET",
            "inventory",
            "GetBucketInventoryConfiguration",
            "s3:GetInventoryConfiguration",
            _lists("ListInventoryConfigurationsResult"),
        ),
        (
            "DELETE",
            "inventory",
            "DeleteBucketInventoryConfiguration",
            "s3:PutInventoryConfiguration",
            _refuses("NoSuchConfiguration"),
        ),
        (
            "GET",
            "metrics",
            "GetBucketMetricsConfiguration",
            "s3:GetMetricsConfiguration",
            _lists("ListMetricsConfigurationsResult"),
        ),
        (
            "DELETE",
            "metrics",
            "DeleteBucketMetricsConfiguration",
            "s3:PutMetricsConfiguration",
            _refuses("NoSuchConfiguration"),
        ),
        (
            "GET",
            "notification",
            "GetBucketNotificationConfiguration",
            "s3:GetBucketNotification",
            _answers("NotificationConfiguration"),
        ),
        (
            "PUT",
            "notification",
            "PutBucketNotificationConfiguration",
            "s3:PutBucketNotification",
            _keeps("NotificationConfiguration", lambda document: len(document) == 0, "notifications"),
        ),
        (
            "GET",
            "replication",
            "GetBucketReplication",
            "s3:GetReplicationConfiguration",
            _refuses("ReplicationConfigurationNotFoundError"),
        ),
        ("DELETE", "replication", "DeleteBucketReplication", "s3:PutReplicationConfiguration", _gone()),
        (
            "GET",
            "requestPayment",
            "GetBucketRequestPayment",
            "s3:GetBucketRequestPayment",
            _answers("RequestPaymentConfiguration", xml.leaf("Payer", "BucketOwner")),
        ),
        (
            "PUT",
            "requestPayment",
            "PutBucketRequestPayment",
            "s3:PutBucketRequestPayment",
            _keeps(
                "RequestPaymentConfiguration",
                lambda document: xml.text_of(document, "Payer") == "BucketOwner",
                "payment by requesters",
            ),
        ),
        ("GET", "website", "GetBucketWebsite", "s3:GetBucketWebsite", _refuses("NoSuchWebsiteConfiguration")),
        ("DELETE", "website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite", _gone()),
    )
}
