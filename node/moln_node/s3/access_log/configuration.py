"""Where a bucket's access log goes: GET and PUT of `?logging`, and what `delivery` needs of it.

Called by the operation table. The log's bucket must belong to the owner of the bucket that is logged: nobody can have
lines written to others, and no policy or grant is needed for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.acl.grants import Permission, default, dump, load
from moln_node.s3.acl.ownership import ENFORCED
from moln_node.s3.acl.requests import grant_from, grant_to_xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.s3.roles import sees_bucket
from moln_node.store.errors import NoSuchBucketError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from xml.etree.ElementTree import Element

    from moln_node.s3.acl.grants import Grant
    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket

Names = Literal["", "SimplePrefix", "EventTime", "DeliveryTime"]
SETTING: Final = "logging"
_ROOT: Final = "BucketLoggingStatus"
_LONGEST_PREFIX: Final = 800  # bytes; what is put after it must fit into a key
_DATES: Final[Mapping[str | None, Names]] = {"EventTime": "EventTime", "DeliveryTime": "DeliveryTime"}
_GIVEN: Final = frozenset({Permission.READ, Permission.WRITE, Permission.FULL_CONTROL})


class Target(msgspec.Struct, frozen=True):
    """Where the log goes, and how its objects are named and shared.

    `acl` is what they are granted besides their owner's own, kept as ACLs are; `names` how keys are made: as if nothing
    was said of it, SimplePrefix, or partitioned by a time, which is that of delivery in either case.
    """

    bucket: str
    prefix: str
    acl: str = ""
    names: Names = ""


def target_of(bucket: Bucket) -> Target | None:
    """Where the requests to a bucket are logged; None where they are not."""
    text = bucket.settings.get(SETTING)
    return None if text is None else msgspec.json.decode(text, type=Target)


async def get_logging(call: Call) -> web.Response:
    """GetBucketLogging: an empty status while nothing is logged."""
    target = target_of(call.bucket_record)
    enabled = [] if target is None else [_enabled(target, call)]
    return web.Response(body=xml.document(_ROOT, *enabled), content_type="application/xml")


async def put_logging(call: Call) -> web.Response:
    """PutBucketLogging: from now on there, or no more. InvalidTargetBucketForLogging, MalformedXML."""
    root = await read_document(call)
    if root.tag != _ROOT:
        raise S3Error("MalformedXML")
    enabled = root.find("LoggingEnabled")
    if enabled is None:
        await call.objects.set_bucket(call.bucket, settings={SETTING: None})
        return web.Response()
    target = _parse(enabled, call)
    await _check(target, call)
    await call.objects.set_bucket(call.bucket, settings={SETTING: msgspec.json.encode(target).decode()})
    return web.Response()


async def _check(target: Target, call: Call) -> None:
    if not sees_bucket(call.identity, target.bucket):
        raise S3Error("AccessDenied", "The access key does not allow this.")
    try:
        bucket = await call.objects.bucket(target.bucket)
    except NoSuchBucketError:
        bucket = None
    if bucket is None or bucket.owner != call.bucket_record.owner:
        raise S3Error("InvalidTargetBucketForLogging", TargetBucket=target.bucket)
    if target.acl and bucket.settings.get("ownershipControls") == ENFORCED:
        raise S3Error("AccessControlListNotSupported", "The bucket for the log does not allow TargetGrants.")


def _parse(enabled: Element, call: Call) -> Target:
    name, prefix = xml.text_of(enabled, "TargetBucket"), xml.text_of(enabled, "TargetPrefix")
    if not name or prefix is None:
        raise S3Error("MalformedXML")
    if len(prefix.encode()) > _LONGEST_PREFIX:
        raise S3Error("InvalidArgument", f"TargetPrefix can have up to {_LONGEST_PREFIX} bytes.")
    grants = [grant_from(element, call.keyring) for element in enabled.findall("TargetGrants/Grant")]
    if any(grant.permission not in _GIVEN for grant in grants):
        raise S3Error("MalformedXML")
    return Target(name, prefix, dump(grants, "") if grants else "", _names(enabled.find("TargetObjectKeyFormat")))


def _names(form: Element | None) -> Names:
    if form is None:
        return ""
    simple, partitioned = form.find("SimplePrefix"), form.find("PartitionedPrefix")
    if (simple is None) == (partitioned is None):
        raise S3Error("MalformedXML")
    if partitioned is None:
        return "SimplePrefix"
    names = _DATES.get(xml.text_of(partitioned, "PartitionDateSource"))
    if names is None:
        raise S3Error("MalformedXML")
    return names


def _enabled(target: Target, call: Call) -> str:
    grants: Iterable[Grant] = load(target.acl, "") if target.acl else ()
    shown = [grant_to_xml(grant, call.keyring) for grant in grants]
    form = ""
    if target.names == "SimplePrefix":
        form = xml.node("TargetObjectKeyFormat", xml.node("SimplePrefix"))
    elif target.names:
        source = xml.leaf("PartitionDateSource", target.names)
        form = xml.node("TargetObjectKeyFormat", xml.node("PartitionedPrefix", source))
    return xml.node(
        "LoggingEnabled",
        xml.leaf("TargetBucket", target.bucket),
        xml.node("TargetGrants", *shown) if shown else "",
        xml.leaf("TargetPrefix", target.prefix),
        form,
    )


def acl_of(target: Target, bucket: Bucket) -> str:
    """The ACL of the log's objects, as their attributes keep it."""
    if not target.acl or bucket.settings.get("ownershipControls") == ENFORCED:
        return ""
    own = default(bucket.owner)
    return dump(own + tuple(grant for grant in load(target.acl, "") if grant not in own), bucket.owner)
