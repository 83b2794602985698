"""The quota of a bucket: GET, PUT and DELETE of `?quota`, an extension of moln's. Called by the operation table.

    <QuotaConfiguration><Bytes>1073741824</Bytes></QuotaConfiguration>

GET adds what is used. Only admin keys change a quota: it bounds the bucket's owner. Writes beyond it get QuotaExceeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from moln_node.s3.call import Call


def _demand_admin(call: Call) -> None:
    if call.identity.role != "admin":
        raise S3Error("AccessDenied", "Only an admin key may change the quota of a bucket.")


async def get_quota(call: Call) -> web.Response:
    """The quota in bytes (absent: none), and the bytes and objects, versions included, that the bucket holds."""
    usage = await call.objects.bucket_usage(call.bucket)
    body = xml.document(
        "QuotaConfiguration",
        xml.leaf("Bytes", call.bucket_record.quota_bytes),
        xml.leaf("UsedBytes", usage.bytes),
        xml.leaf("UsedObjects", usage.objects),
    )
    return web.Response(body=body, content_type="application/xml")


async def put_quota(call: Call) -> web.Response:
    """Set the quota. One below what is used is taken: it stops writes, and deletes nothing."""
    _demand_admin(call)
    root = await read_document(call)
    text = (xml.text_of(root, "Bytes") or "").strip()
    if root.tag != "QuotaConfiguration":
        raise S3Error("MalformedXML")
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text)):
        raise S3Error("InvalidArgument", "Bytes must be a positive number; DELETE ?quota removes a quota.")
    await call.objects.set_bucket(call.bucket, quota_bytes=int(text))
    return web.Response()


async def delete_quota(call: Call) -> web.Response:
    """Remove the quota."""
    _demand_admin(call)
    await call.objects.set_bucket(call.bucket, quota_bytes=0)
    return web.Response(status=204)
