"""Lifecycle configuration: GET, PUT and DELETE of `?lifecycle`.

Handlers are called by the operation table; the rules and their meaning are in `moln_node.cluster.lifecycle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.cluster import lifecycle
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.s3.lifecycle_document import parse_configuration, write_configuration

if TYPE_CHECKING:
    from moln_node.s3.call import Call


async def get_lifecycle(call: Call) -> web.Response:
    """GetBucketLifecycleConfiguration."""
    document = call.bucket_record.settings.get(lifecycle.SETTING)
    if document is None:
        raise S3Error("NoSuchLifecycleConfiguration", BucketName=call.bucket)
    return web.Response(body=write_configuration(lifecycle.read(document)), content_type="application/xml")


async def put_lifecycle(call: Call) -> web.Response:
    """PutBucketLifecycleConfiguration: replace every rule."""
    rules = parse_configuration(await read_document(call))
    await call.objects.set_bucket(call.bucket, settings={lifecycle.SETTING: rules.model_dump_json(exclude_none=True)})
    return web.Response()


async def delete_lifecycle(call: Call) -> web.Response:
    """DeleteBucketLifecycle."""
    await call.objects.set_bucket(call.bucket, settings={lifecycle.SETTING: None})
    return web.Response(status=204)
