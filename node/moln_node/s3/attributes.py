"""GetObjectAttributes: chosen facts of an object without its bytes. Called by the operation table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3 import checksums, xml
from moln_node.s3.errors import S3Error
from moln_node.s3.parameters import PAGE, number
from moln_node.s3.representation import version_headers
from moln_node.s3.sse import cover as covers
from moln_node.s3.versions import version_of

if TYPE_CHECKING:
    from moln_node.s3.call import Call
    from moln_node.store.model import Checksum, Part, Record

_HEADER: Final = "x-amz-object-attributes"
_KNOWN: Final = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


async def get_object_attributes(call: Call) -> web.Response:
    """GetObjectAttributes."""
    wanted = _wanted(call)
    record = await call.objects.head(call.bucket, call.key, version_of(call.query))
    covers.for_facts(call, record)
    body = xml.document(
        "GetObjectAttributesResponse",
        xml.leaf("ETag", record.etag) if "ETag" in wanted else "",
        _checksum(record.checksum) if "Checksum" in wanted else "",
        _parts(call, record) if "ObjectParts" in wanted else "",
        xml.leaf("StorageClass", record.storage_class) if "StorageClass" in wanted else "",
        xml.leaf("ObjectSize", record.size) if "ObjectSize" in wanted else "",
    )
    headers = {"Last-Modified": xml.http_time(record.modified_ms)} | version_headers(call.bucket_record, record)
    return web.Response(body=body, content_type="application/xml", headers=headers)


def _wanted(call: Call) -> frozenset[str]:
    """The attributes that the header names; InvalidArgument for none or an unknown one."""
    given = ",".join(call.headers.getall(_HEADER, []))
    names = frozenset(name.strip() for name in given.split(",") if name.strip())
    if not names or not names <= set(_KNOWN):
        raise S3Error(
            "InvalidArgument",
            f"Invalid attribute name specified: name one or more of {', '.join(_KNOWN)}.",
            ArgumentName=_HEADER,
            ArgumentValue=given,
        )
    return names


def _checksum(checksum: Checksum | None) -> str:
    if checksum is None:
        return ""
    element = checksums.ALGORITHMS[checksum.algorithm].element
    return xml.node("Checksum", xml.leaf(element, checksum.value), xml.leaf("ChecksumType", checksum.type))


def _parts(call: Call, record: Record) -> str:
    """A page of the parts of a multipart object; nothing for one that was put whole."""
    if not record.parts:
        return ""
    headers = {
        name: call.headers[name] for name in ("x-amz-max-parts", "x-amz-part-number-marker") if name in call.headers
    }
    limit = min(number(headers, "x-amz-max-parts", PAGE), PAGE)
    marker = number(headers, "x-amz-part-number-marker", 0)
    after = [part for part in record.parts if part.number > marker]
    shown = after[:limit]
    return xml.node(
        "ObjectParts",
        xml.leaf("PartsCount", len(record.parts)),
        xml.leaf("PartNumberMarker", marker),
        xml.leaf("NextPartNumberMarker", shown[-1].number if shown else 0),
        xml.leaf("MaxParts", limit),
        xml.leaf("IsTruncated", len(after) > len(shown)),
        *(_part(part) for part in shown),
    )


def _part(part: Part) -> str:
    checksum = part.checksum
    return xml.node(
        "Part",
        xml.leaf("PartNumber", part.number),
        xml.leaf("Size", part.size),
        xml.leaf(checksums.ALGORITHMS[checksum.algorithm].element, checksum.value) if checksum else "",
    )
