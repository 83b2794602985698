"""Retention and legal hold of a version: `?retention` and `?legal-hold`. Called by the operation table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error
from moln_node.s3.lock.configuration import require_enabled
from moln_node.s3.lock.headers import HOLD, HOLDS, MODE, MODES, UNTIL, bypasses, moment
from moln_node.s3.representation import version_headers
from moln_node.s3.versions import version_of
from moln_node.store.model import Retention

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call
    from moln_node.store.model import Lock


async def get_retention(call: Call) -> web.Response:
    """GetObjectRetention."""
    retention = (await _lock(call)).retention
    if not retention.mode:
        raise S3Error("NoSuchObjectLockConfiguration")
    body = xml.document(
        "Retention",
        xml.leaf("Mode", retention.mode),
        xml.leaf("RetainUntilDate", xml.iso_time(retention.until_ms)),
    )
    return web.Response(body=body, content_type="application/xml")


async def put_retention(call: Call) -> web.Response:
    """PutObjectRetention: an empty document ends a retention, for who may bypass governance."""
    require_enabled(call.bucket_record)
    root = await read_document(call)
    mode, until = xml.text_of(root, "Mode"), xml.text_of(root, "RetainUntilDate")
    await _authorise(call, "s3:PutObjectRetention", {MODE: mode, UNTIL: until})
    retention = parse_retention(root, call.settings.now())
    record = await call.objects.set_attributes(
        call.bucket,
        call.key,
        version_of(call.query),
        retention=retention,
        bypass_governance=await bypasses(call, call.key),
    )
    return web.Response(headers=version_headers(call.bucket_record, record))


def parse_retention(root: Element, now: float) -> Retention:
    """What a `<Retention>` says; MalformedXML, InvalidArgument."""
    mode, until = xml.text_of(root, "Mode"), xml.text_of(root, "RetainUntilDate")
    if root.tag != "Retention" or (mode is None) != (until is None):
        raise S3Error("MalformedXML")
    if mode is None or until is None:
        return Retention()
    if mode not in MODES:
        raise S3Error("MalformedXML")
    return Retention(mode, moment(until, now))


async def get_legal_hold(call: Call) -> web.Response:
    """GetObjectLegalHold."""
    hold = (await _lock(call)).hold
    if not hold:
        raise S3Error("NoSuchObjectLockConfiguration")
    return web.Response(body=xml.document("LegalHold", xml.leaf("Status", hold)), content_type="application/xml")


async def put_legal_hold(call: Call) -> web.Response:
    """PutObjectLegalHold: on or off, whatever the retention."""
    require_enabled(call.bucket_record)
    root = await read_document(call)
    hold = xml.text_of(root, "Status")
    await _authorise(call, "s3:PutObjectLegalHold", {HOLD: hold})
    if root.tag != "LegalHold" or hold not in HOLDS:
        raise S3Error("MalformedXML")
    record = await call.objects.set_attributes(call.bucket, call.key, version_of(call.query), hold=hold)
    return web.Response(headers=version_headers(call.bucket_record, record))


async def _authorise(call: Call, action: str, said: Mapping[str, str | None]) -> None:
    """May the caller do this? Conditions of policies see what the document says as they see headers of a put."""
    headers = {name: value for name, value in said.items() if value is not None}
    await call.authorise(action, call.bucket, call.key, version_id=call.query.get("versionId"), headers=headers)


async def _lock(call: Call) -> Lock:
    require_enabled(call.bucket_record)
    return (await call.objects.head(call.bucket, call.key, version_of(call.query))).attributes.lock
