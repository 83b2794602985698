"""ListParts and ListMultipartUploads. Called by the operation table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import checksums, xml
from moln_node.s3.errors import S3Error
from moln_node.s3.listing import owner_element
from moln_node.s3.parameters import encoder, number, page_size
from moln_node.s3.representation import quoted, second

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_node.s3.call import Call
    from moln_node.store.model import Part, Upload


def _people(call: Call, owner: str) -> str:
    return owner_element(call, owner, "Initiator") + owner_element(call, owner)


async def list_parts(call: Call) -> web.Response:
    """ListParts: the parts of one upload, by number."""
    query = call.query
    encode = encoder(query)
    limit, marker = page_size(query, "max-parts"), number(query, "part-number-marker", 0)
    upload = await call.objects.upload(call.bucket, call.key, query["uploadId"])
    found = await call.objects.parts(call.bucket, call.key, upload.id, after=marker, limit=limit + 1)
    parts, truncated = found[:limit], len(found) > limit
    body = xml.document(
        "ListPartsResult",
        xml.leaf("Bucket", call.bucket),
        f"<Key>{encode(call.key)}</Key>",
        xml.leaf("UploadId", upload.id),
        xml.leaf("EncodingType", query.get("encoding-type") or None),
        _people(call, upload.attributes.owner),
        xml.leaf("StorageClass", upload.storage_class),
        xml.leaf("PartNumberMarker", marker),
        xml.leaf("NextPartNumberMarker", parts[-1].number if parts else 0),
        xml.leaf("MaxParts", limit),
        xml.leaf("IsTruncated", truncated and limit > 0),
        xml.leaf("ChecksumAlgorithm", upload.checksum_algorithm or None),
        xml.leaf("ChecksumType", upload.checksum_type or None),
        *(_part(part) for part in parts),
    )
    return web.Response(body=body, content_type="application/xml")


def _part(part: Part) -> str:
    return xml.node(
        "Part",
        xml.leaf("PartNumber", part.number),
        xml.leaf("LastModified", second(part.modified_ms)),
        xml.leaf("ETag", quoted(part.etag)),
        xml.leaf("Size", part.size),
        xml.leaf(checksums.ALGORITHMS[part.checksum.algorithm].element, part.checksum.value) if part.checksum else "",
    )


async def list_multipart_uploads(call: Call) -> web.Response:
    """ListMultipartUploads: the uploads under way in a bucket."""
    query = call.query
    encode, limit = encoder(query), page_size(query, "max-uploads")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, upload_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
    if limit == 0:
        raise S3Error("InvalidArgument", "max-uploads must be 1 or more.", ArgumentName="max-uploads")
    page = await call.objects.uploads(
        call.bucket,
        prefix=prefix,
        delimiter=delimiter,
        after_key=key_marker,
        after_upload=upload_marker if key_marker else "",
        limit=limit,
    )
    body = xml.document(
        "ListMultipartUploadsResult",
        xml.leaf("Bucket", call.bucket),
        f"<KeyMarker>{encode(key_marker)}</KeyMarker>",
        xml.leaf("UploadIdMarker", upload_marker),
        f"<NextKeyMarker>{encode(page.next_key or '')}</NextKeyMarker>",
        xml.leaf("NextUploadIdMarker", page.next_upload or ""),
        f"<Prefix>{encode(prefix)}</Prefix>",
        f"<Delimiter>{encode(delimiter)}</Delimiter>" if delimiter else "",
        xml.leaf("EncodingType", query.get("encoding-type") or None),
        xml.leaf("MaxUploads", limit),
        xml.leaf("IsTruncated", page.next_key is not None),
        *(_upload(call, upload, encode) for upload in page.uploads),
        *(f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>" for name in page.prefixes),
    )
    return web.Response(body=body, content_type="application/xml")


def _upload(call: Call, upload: Upload, encode: Callable[[str], str]) -> str:
    return xml.node(
        "Upload",
        f"<Key>{encode(upload.key)}</Key>",
        xml.leaf("UploadId", upload.id),
        _people(call, upload.attributes.owner),
        xml.leaf("StorageClass", upload.storage_class),
        xml.leaf("Initiated", second(upload.started_ms)),
        xml.leaf("ChecksumAlgorithm", upload.checksum_algorithm or None),
        xml.leaf("ChecksumType", upload.checksum_type or None),
    )
