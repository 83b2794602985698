"""A bucket's object lock: whether it has any, and how its objects are retained by default.

The handlers of `?object-lock` are called by the operation table, the rest by those who write objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from moln_node.cluster.locking import SETTING
from moln_node.s3 import xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.store.model import COMPLIANCE, GOVERNANCE, Retention

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket

_DAY_S: Final = 86_400
_YEAR_DAYS: Final = 365
_MOST_DAYS: Final = 100 * _YEAR_DAYS
ENABLED: Final = "Enabled"


class Default(msgspec.Struct, frozen=True, omit_defaults=True):
    """How new objects are retained; no mode: they are not. One of days and years is there with a mode."""

    mode: str = ""
    days: int = 0
    years: int = 0


NO_DEFAULT: Final = msgspec.json.encode(Default()).decode()
"""The setting of a bucket that has object lock, and retains nothing by default."""


def default_retention(bucket: Bucket, now: float) -> Retention | None:
    """How an object is retained that is written `now` and asks for nothing; None where it is not."""
    text = bucket.settings.get(SETTING)
    rule = None if text is None else msgspec.json.decode(text, type=Default)
    if rule is None or not rule.mode:
        return None
    return Retention(rule.mode, int((now + (rule.days + rule.years * _YEAR_DAYS) * _DAY_S) * 1000))


def require_enabled(bucket: Bucket) -> None:
    """InvalidRequest where a bucket has no object lock."""
    if SETTING not in bucket.settings:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration", BucketName=bucket.name)


async def get_object_lock(call: Call) -> web.Response:
    """GetObjectLockConfiguration."""
    text = call.bucket_record.settings.get(SETTING)
    if text is None:
        raise S3Error("ObjectLockConfigurationNotFoundError", BucketName=call.bucket)
    rule = msgspec.json.decode(text, type=Default)
    retention = xml.node(
        "DefaultRetention",
        xml.leaf("Mode", rule.mode),
        xml.leaf("Days", rule.days or None),
        xml.leaf("Years", rule.years or None),
    )
    body = xml.document(
        "ObjectLockConfiguration",
        xml.leaf("ObjectLockEnabled", ENABLED),
        xml.node("Rule", retention) if rule.mode else "",
    )
    return web.Response(body=body, content_type="application/xml")


async def put_object_lock(call: Call) -> web.Response:
    """PutObjectLockConfiguration: switch it on for good, in a bucket that keeps versions; set or end the default."""
    rule = parse(await read_document(call))
    await call.objects.set_bucket(call.bucket, settings={SETTING: msgspec.json.encode(rule).decode()})
    return web.Response()


def parse(root: Element) -> Default:
    """What an `<ObjectLockConfiguration>` says; MalformedXML, InvalidRetentionPeriod."""
    if root.tag != "ObjectLockConfiguration" or xml.text_of(root, "ObjectLockEnabled") != ENABLED:
        raise S3Error("MalformedXML")
    rules = root.findall("Rule")
    if not rules:
        return Default()
    default = rules[0].find("DefaultRetention")
    mode = xml.text_of(default, "Mode")
    days, years = xml.text_of(default, "Days"), xml.text_of(default, "Years")
    if len(rules) > 1 or mode not in {GOVERNANCE, COMPLIANCE} or (days is None) == (years is None):
        raise S3Error("MalformedXML")
    return Default(mode, _period(days, _MOST_DAYS), _period(years, _MOST_DAYS // _YEAR_DAYS))


def _period(text: str | None, most: int) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 7 and 1 <= int(text) <= most):
        raise S3Error("InvalidRetentionPeriod", RetentionPeriod=text)
    return int(text)
