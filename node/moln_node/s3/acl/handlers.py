"""GET and PUT of `?acl`, on buckets and on objects. Called by the operation table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3.acl import requests
from moln_node.s3.acl.grants import dump, load
from moln_node.s3.acl.ownership import refuse_lists, refuse_public
from moln_node.s3.errors import S3Error
from moln_node.s3.versions import version_of

if TYPE_CHECKING:
    from moln_node.s3.acl.grants import Grant
    from moln_node.s3.call import Call


def _document(call: Call, acl: str, owner: str) -> web.Response:
    body = requests.to_xml(load(acl, owner), owner, call.keyring)
    return web.Response(body=body, content_type="application/xml")


async def _asked(call: Call, owner: str) -> tuple[Grant, ...]:
    """The grants that the request wants to be in force: by header, or by its body."""
    bucket = call.bucket_record
    grants = requests.from_headers(call.headers, owner, bucket.owner, call.keyring)
    body = await call.read()
    if grants is not None and body.strip():
        raise S3Error("UnexpectedContent", "The ACL is in headers and in a document: send one of them.")
    if grants is None:
        if not body.strip():
            raise S3Error("MissingSecurityHeader", "Your request was missing a required header: x-amz-acl")
        grants = requests.from_xml(call.parse_xml(body, "MalformedACLError"), owner, call.keyring)
    refuse_lists(bucket, call.headers, dump(grants, owner))
    refuse_public(grants, bucket)
    return grants


async def get_bucket_acl(call: Call) -> web.Response:
    """GetBucketAcl."""
    bucket = call.bucket_record
    return _document(call, bucket.settings.get("acl", ""), bucket.owner)


async def put_bucket_acl(call: Call) -> web.Response:
    """PutBucketAcl: a canned ACL, grants in headers, or a document."""
    owner = call.bucket_record.owner
    acl = dump(await _asked(call, owner), owner)
    await call.objects.set_bucket(call.bucket, settings={"acl": acl or None})
    return web.Response()


async def get_object_acl(call: Call) -> web.Response:
    """GetObjectAcl, of the newest version or the named one."""
    version = version_of(call.query)
    attributes = (await call.objects.head(call.bucket, call.key, version)).attributes
    return _document(call, attributes.acl, attributes.owner)


async def put_object_acl(call: Call) -> web.Response:
    """PutObjectAcl: as on buckets; the object's owner stays."""
    version = version_of(call.query)
    owner = (await call.objects.head(call.bucket, call.key, version)).attributes.owner
    acl = dump(await _asked(call, owner), owner)
    await call.objects.set_attributes(call.bucket, call.key, version, acl=acl)
    return web.Response()
