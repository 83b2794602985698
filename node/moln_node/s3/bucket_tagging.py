"""Tags of buckets: GET, PUT and DELETE of `?tagging`. Called by the operation table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import tag_set
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from moln_node.s3.call import Call


async def get_bucket_tagging(call: Call) -> web.Response:
    """GetBucketTagging."""
    text = call.bucket_record.settings.get("tagging")
    if text is None:
        raise S3Error("NoSuchTagSet", BucketName=call.bucket)
    return web.Response(body=tag_set.document(json.loads(text)), content_type="application/xml")


async def put_bucket_tagging(call: Call) -> web.Response:
    """PutBucketTagging: replace the tag set."""
    tags = tag_set.parse_document(await read_document(call), tag_set.BUCKET_TAGS)
    await call.objects.set_bucket(call.bucket, settings={"tagging": json.dumps(tags, separators=(",", ":"))})
    return web.Response(status=204)


async def delete_bucket_tagging(call: Call) -> web.Response:
    """DeleteBucketTagging."""
    await call.objects.set_bucket(call.bucket, settings={"tagging": None})
    return web.Response(status=204)
