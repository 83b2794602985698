"""Tags of objects: GET, PUT and DELETE of `?tagging`. Called by the operation table; tags live in the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import tag_set
from moln_node.s3.documents import read_document
from moln_node.s3.representation import version_headers
from moln_node.s3.versions import version_of

if TYPE_CHECKING:
    from moln_node.s3.call import Call


async def get_object_tagging(call: Call) -> web.Response:
    """GetObjectTagging."""
    record = await call.objects.head(call.bucket, call.key, version_of(call.query))
    return web.Response(
        body=tag_set.document(record.attributes.tags),
        content_type="application/xml",
        headers=version_headers(call.bucket_record, record),
    )


async def put_object_tagging(call: Call) -> web.Response:
    """PutObjectTagging: replace the tag set."""
    tags = tag_set.parse_document(await read_document(call), tag_set.OBJECT_TAGS)
    record = await call.objects.set_attributes(call.bucket, call.key, version_of(call.query), tags=tags)
    return web.Response(headers=version_headers(call.bucket_record, record))


async def delete_object_tagging(call: Call) -> web.Response:
    """DeleteObjectTagging: remove every tag."""
    record = await call.objects.set_attributes(call.bucket, call.key, version_of(call.query), tags={})
    return web.Response(status=204, headers=version_headers(call.bucket_record, record))
