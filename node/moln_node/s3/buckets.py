"""Buckets: list, create, head, delete, location and versioning. Called by the operation table."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.cluster import locking
from moln_node.s3 import tag_set, xml
from moln_node.s3.acl import ownership
from moln_node.s3.errors import S3Error
from moln_node.s3.listing import make_token, owner_element, read_token
from moln_node.s3.lock.configuration import NO_DEFAULT
from moln_node.s3.names import check_bucket_name
from moln_node.s3.parameters import page_size
from moln_node.s3.representation import second
from moln_node.s3.roles import sees_bucket
from moln_node.store.errors import BucketExistsError
from moln_node.store.model import Bucket, Versioning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.call import Call

_MAX_BUCKETS: Final = 10_000
_DEFAULT_REGION: Final = "us-east-1"
_LOCATION: Final = "location"  # the name of the setting
_ACL: Final = "acl"  # that of `moln_node.s3.acl`
_REGION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


async def list_buckets(call: Call) -> web.Response:
    """ListBuckets: the caller's own, by name; an admin sees everybody's."""
    query = call.query
    limit = page_size(query, "max-buckets", _MAX_BUCKETS)
    prefix, token = query.get("prefix", ""), query.get("continuation-token", "")
    after = read_token(token) if token else ""
    mine = [
        bucket
        for bucket in await call.objects.buckets()
        if (call.identity.role == "admin" or bucket.owner == call.identity.id)
        and sees_bucket(call.identity, bucket.name)
        and bucket.name.startswith(prefix)
        and bucket.name > after
    ]
    shown = mine[:limit]
    body = xml.document(
        "ListAllMyBucketsResult",
        owner_element(call, call.identity.id),
        xml.node("Buckets", *(_bucket(bucket, _region(call, bucket)) for bucket in shown)),
        xml.leaf("ContinuationToken", make_token(shown[-1].name) if shown and len(mine) > len(shown) else None),
        xml.leaf("Prefix", prefix or None),
    )
    return web.Response(body=body, content_type="application/xml")


def _bucket(bucket: Bucket, region: str) -> str:
    return xml.node(
        "Bucket",
        xml.leaf("Name", bucket.name),
        xml.leaf("CreationDate", second(bucket.created_ms)),
        xml.leaf("BucketRegion", region),
    )


async def create_bucket(call: Call) -> web.Response:
    """CreateBucket: owned by the caller. Asking again for what is there changes nothing, and is no error."""
    check_bucket_name(call.bucket)
    locked = call.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true"
    settings = await _configured(call) | ownership.for_bucket(call.headers, call.identity.id, call.keyring)
    if locked:
        settings[locking.SETTING] = NO_DEFAULT
    versioning = Versioning.ENABLED if locked else Versioning.OFF
    bucket = Bucket(call.bucket, call.identity.id, int(call.settings.now() * 1000), versioning, settings=settings)
    try:
        await call.objects.create_bucket(bucket)
    except BucketExistsError as error:
        if error.owner != call.identity.id or not await _same(call, settings):
            raise S3Error("BucketAlreadyExists", BucketName=call.bucket) from error
    return web.Response(headers={"Location": f"/{call.bucket}"})


async def _same(call: Call, settings: Mapping[str, str]) -> bool:
    """Whether the bucket is as a request for a new one wants it: its ACL, and whatever else it names."""
    there = (await call.objects.bucket(call.bucket)).settings
    return there.get(_ACL) == settings.get(_ACL) and all(there.get(name) == value for name, value in settings.items())


async def _configured(call: Call) -> dict[str, str]:
    """The settings in `<CreateBucketConfiguration>`, where one came: location and tags."""
    data = await call.read()
    if not data.strip():
        return {}
    try:
        root = xml.parse(data)
    except ValueError as error:
        raise S3Error("MalformedXML") from error
    if root.tag != "CreateBucketConfiguration":
        raise S3Error("MalformedXML")
    if root.find("Location") is not None or root.find("Bucket") is not None:
        raise S3Error("NotImplemented", "moln has no directory buckets.")
    settings = {}
    location, tags = xml.text_of(root, "LocationConstraint"), root.find("Tags")
    if location:
        if not _REGION.fullmatch(location):
            raise S3Error("InvalidLocationConstraint", LocationConstraint=location)
        settings[_LOCATION] = location
    if tags is not None and len(tags):
        settings["tagging"] = json.dumps(tag_set.parse_tags(tags, tag_set.BUCKET_TAGS))
    return settings


def _region(call: Call, bucket: Bucket) -> str:
    """Where a bucket is, as its creator named the place: the same disks wherever that is."""
    return bucket.settings.get(_LOCATION, call.settings.region)


async def head_bucket(call: Call) -> web.Response:
    """HeadBucket: that it is there, and where."""
    return web.Response(
        headers={"x-amz-bucket-region": _region(call, call.bucket_record)}, content_type="application/xml"
    )


async def delete_bucket(call: Call) -> web.Response:
    """DeleteBucket: only an empty one."""
    await call.objects.delete_bucket(call.bucket)
    return web.Response(status=204)


async def get_bucket_location(call: Call) -> web.Response:
    """GetBucketLocation: what CreateBucket said, else the server's region; empty for us-east-1, as S3 has it."""
    region = _region(call, call.bucket_record)
    body = xml.document("LocationConstraint", "" if region == _DEFAULT_REGION else xml.escape(region))
    return web.Response(body=body, content_type="application/xml")


async def get_bucket_versioning(call: Call) -> web.Response:
    """GetBucketVersioning: no status at all while versioning was never on."""
    state = call.bucket_record.versioning
    body = xml.document("VersioningConfiguration", xml.leaf("Status", state.value or None))
    return web.Response(body=body, content_type="application/xml")


async def put_bucket_versioning(call: Call) -> web.Response:
    """PutBucketVersioning: Enabled or Suspended."""
    root = await call.read_xml()
    status = xml.text_of(root, "Status")
    if root.tag != "VersioningConfiguration" or status not in {Versioning.ENABLED, Versioning.SUSPENDED}:
        raise S3Error("MalformedXML")
    if "x-amz-mfa" in call.headers or xml.text_of(root, "MfaDelete") == "Enabled":
        raise S3Error("NotImplemented", "moln does not do MFA delete.")
    await call.objects.set_bucket(call.bucket, versioning=Versioning(status))
    return web.Response()
