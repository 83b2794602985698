"""What S3 answers about features that a bucket does not use: all that can be said of those which are not built.

GET gives the default of AWS or its NoSuch... error, so that tools which look at every setting go on. Nothing can be
set: PUT and DELETE have no row in the operation table, which answers them with NotImplemented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.errors import S3Error
from moln_node.s3.operation import Operation

if TYPE_CHECKING:
    from moln_node.s3.call import Call
    from moln_node.s3.operation import Handler


def _answers(root: str, *children: str) -> Handler:
    body = xml.document(root, *children)

    async def handler(_: Call) -> web.Response:
        return web.Response(body=body, content_type="application/xml")

    return handler


def _refuses(code: str, message: str = "") -> Handler:
    async def handler(_: Call) -> web.Response:
        raise S3Error(code, message)

    return handler


def _lists(root: str) -> Handler:
    """A list of configurations without one; a single one, named by id, is not there."""
    empty = _answers(root, xml.leaf("IsTruncated", value=False))
    absent = _refuses("NoSuchConfiguration", "The specified configuration does not exist.")

    async def handler(call: Call) -> web.StreamResponse:
        return await (absent(call) if "id" in call.query else empty(call))

    return handler


BUCKET: dict[tuple[str, str], Operation] = {
    ("GET", sub): Operation(name, action, handler)
    for sub, name, action, handler in (
        (
            "accelerate",
            "GetBucketAccelerateConfiguration",
            "s3:GetAccelerateConfiguration",
            _answers("AccelerateConfiguration"),
        ),
        (
            "analytics",
            "GetBucketAnalyticsConfiguration",
            "s3:GetAnalyticsConfiguration",
            _lists("ListBucketAnalyticsConfigurationResult"),
        ),
        (
            "intelligent-tiering",
            "GetBucketIntelligentTieringConfiguration",
            "s3:GetIntelligentTieringConfiguration",
            _lists("ListBucketIntelligentTieringConfigurationsOutput"),
        ),
        (
            "inventory",
            "GetBucketInventoryConfiguration",
            "s3:GetInventoryConfiguration",
            _lists("ListInventoryConfigurationsResult"),
        ),
        (
            "metrics",
            "GetBucketMetricsConfiguration",
            "s3:GetMetricsConfiguration",
            _lists("ListMetricsConfigurationsResult"),
        ),
        (
            "notification",
            "GetBucketNotificationConfiguration",
            "s3:GetBucketNotification",
            _answers("NotificationConfiguration"),
        ),
        (
            "replication",
            "GetBucketReplication",
            "s3:GetReplicationConfiguration",
            _refuses("ReplicationConfigurationNotFoundError"),
        ),
        (
            "requestPayment",
            "GetBucketRequestPayment",
            "s3:GetBucketRequestPayment",
            _answers("RequestPaymentConfiguration", xml.leaf("Payer", "BucketOwner")),
        ),
        ("website", "GetBucketWebsite", "s3:GetBucketWebsite", _refuses("NoSuchWebsiteConfiguration")),
    )
}
