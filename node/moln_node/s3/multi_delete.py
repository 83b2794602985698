"""DeleteObjects: up to 1,000 deletes in one request, each with its own outcome.

Called by the operation table, unchecked: every key is authorised on its own. Deletes go to the store side by side, so
that they share its commits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.access_log.observation import is_logged
from moln_node.s3.call import Touched
from moln_node.s3.conditions import precondition_of
from moln_node.s3.documents import read_document
from moln_node.s3.errors import S3Error, from_store
from moln_node.s3.lock import headers as locks
from moln_node.s3.versions import checked_version
from moln_node.store.errors import StoreError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from moln_node.s3.call import Call

_MOST: Final = 1000
_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """One object to delete; the last three are its conditions, as they came."""

    key: str
    version_id: str | None
    etag: str | None
    size: str | None
    modified: str | None


async def delete_objects(call: Call) -> web.Response:
    """DeleteObjects."""
    await call.objects.bucket(call.bucket)
    entries, quiet = _entries(await read_document(call))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def outcome(entry: Entry) -> str:
        async with gate:
            return await _delete(call, entry, quiet=quiet)

    outcomes = await asyncio.gather(*(outcome(entry) for entry in entries))
    return web.Response(body=xml.document("DeleteResult", *outcomes), content_type="application/xml")


def _entries(root: Element) -> tuple[list[Entry], bool]:
    """What a `<Delete>` document asks for, and whether successes are to be left out of the answer."""
    objects = root.findall("Object")
    if root.tag != "Delete" or not 1 <= len(objects) <= _MOST:
        raise S3Error("MalformedXML")
    entries = []
    for element in objects:
        key = xml.text_of(element, "Key")
        if not key:
            raise S3Error("MalformedXML")
        entries.append(
            Entry(
                key,
                xml.text_of(element, "VersionId") or None,
                xml.text_of(element, "ETag"),
                xml.text_of(element, "Size"),
                xml.text_of(element, "LastModifiedTime"),
            )
        )
    return entries, xml.text_of(root, "Quiet") == "true"


async def _delete(call: Call, entry: Entry, *, quiet: bool) -> str:
    """Delete one object: the element that tells of it, empty for a success that is to be quiet."""
    try:
        version_id = checked_version(entry.version_id) if entry.version_id else None
        action = "s3:DeleteObjectVersion" if version_id else "s3:DeleteObject"
        await call.authorise(action, call.bucket, entry.key, version_id=version_id)
        deleted = await call.objects.delete(
            call.bucket,
            entry.key,
            version_id,
            owner=call.identity.id,
            precondition=precondition_of(entry.etag, entry.size, entry.modified),
            bypass_governance=await locks.bypasses(call, entry.key),
        )
    except S3Error as error:
        return _error(call, entry, error)
    except StoreError as error:
        return _error(call, entry, from_store(error, call.bucket, entry.key))
    _touch(call, entry, 204)
    if quiet:
        return ""
    marker = deleted.version_id if deleted.delete_marker else None
    return xml.node(
        "Deleted",
        xml.leaf("Key", entry.key),
        xml.leaf("VersionId", entry.version_id),
        xml.leaf("DeleteMarker", True if deleted.delete_marker else None),
        xml.leaf("DeleteMarkerVersionId", marker),
    )


def _touch(call: Call, entry: Entry, status: int, error: str = "") -> None:
    """Leave word of one delete for the bucket's access log, if it has one."""
    bucket = call.bucket_record
    if is_logged(bucket):
        call.touched.append(Touched(bucket, entry.key, entry.version_id, "BATCH.DELETE.OBJECT", status, error))


def _error(call: Call, entry: Entry, error: S3Error) -> str:
    _touch(call, entry, error.status, error.code)
    return xml.node(
        "Error",
        xml.leaf("Key", entry.key),
        xml.leaf("VersionId", entry.version_id),
        xml.leaf("Code", error.code),
        xml.leaf("Message", error.message),
    )
