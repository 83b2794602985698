"""What bounds ACLs: GET, PUT and DELETE of `?ownershipControls` and `?publicAccessBlock`. Called by the table.

A public access block is kept as JSON; the empty text is one that was deleted, no setting one that was never touched.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.acl.grants import load
from moln_node.s3.acl.ownership import ENFORCED, OWNERSHIPS, PublicAccessBlock, public_access_block
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.call import Call

_ELEMENTS: Mapping[str, str] = {
    "block_acls": "BlockPublicAcls",
    "ignore_acls": "IgnorePublicAcls",
    "block_policy": "BlockPublicPolicy",
    "restrict_buckets": "RestrictPublicBuckets",
}


async def get_ownership_controls(call: Call) -> web.Response:
    """GetBucketOwnershipControls."""
    mode = call.bucket_record.settings.get("ownershipControls")
    if mode is None:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=call.bucket)
    body = xml.document("OwnershipControls", xml.node("Rule", xml.leaf("ObjectOwnership", mode)))
    return web.Response(body=body, content_type="application/xml")


async def put_ownership_controls(call: Call) -> web.Response:
    """PutBucketOwnershipControls."""
    root = await read_document(call)
    rules = root.findall("Rule")
    mode = xml.text_of(rules[0], "ObjectOwnership") if len(rules) == 1 else None
    if root.tag != "OwnershipControls" or mode not in OWNERSHIPS:
        raise S3Error("MalformedXML")
    bucket = call.bucket_record
    if mode == ENFORCED and bucket.settings.get("acl"):
        others = [
            grant for grant in load(bucket.settings["acl"], bucket.owner) if grant.public or grant.who != bucket.owner
        ]
        if others:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
    await call.objects.set_bucket(call.bucket, settings={"ownershipControls": mode})
    return web.Response()


async def delete_ownership_controls(call: Call) -> web.Response:
    """DeleteBucketOwnershipControls."""
    await call.objects.set_bucket(call.bucket, settings={"ownershipControls": None})
    return web.Response(status=204)


async def get_public_access_block(call: Call) -> web.Response:
    """GetPublicAccessBlock: what is in force; a block that was deleted is not found."""
    if call.bucket_record.settings.get("publicAccessBlock") == "":
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=call.bucket)
    block = asdict(public_access_block(call.bucket_record))
    body = xml.document(
        "PublicAccessBlockConfiguration", *(xml.leaf(element, block[name]) for name, element in _ELEMENTS.items())
    )
    return web.Response(body=body, content_type="application/xml")


async def put_public_access_block(call: Call) -> web.Response:
    """PutPublicAccessBlock."""
    root = await read_document(call)
    if root.tag != "PublicAccessBlockConfiguration":
        raise S3Error("MalformedXML")
    values = {}
    for name, element in _ELEMENTS.items():
        text = (xml.text_of(root, element) or "false").strip().lower()
        if text not in {"true", "false"}:
            raise S3Error("MalformedXML")
        values[name] = text == "true"
    text = json.dumps(asdict(PublicAccessBlock(**values)), separators=(",", ":"))
    await call.objects.set_bucket(call.bucket, settings={"publicAccessBlock": text})
    return web.Response()


async def delete_public_access_block(call: Call) -> web.Response:
    """DeletePublicAccessBlock."""
    await call.objects.set_bucket(call.bucket, settings={"publicAccessBlock": ""})
    return web.Response(status=204)
