"""Multipart uploads: create, upload parts, copy parts, abort.

Completion is in `completion`, listings are in `upload_listing`. Called by the operation table. A part is written as
safely as an object; nothing is visible before completion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import checksums, xml
from moln_node.s3.acl import ownership
from moln_node.s3.copy import result_elements, source_version
from moln_node.s3.copy_source import open_source
from moln_node.s3.digests import BodyDigest
from moln_node.s3.errors import S3Error
from moln_node.s3.lock import headers as locks
from moln_node.s3.names import check_key
from moln_node.s3.ranges import ByteRange, parse_copy_range
from moln_node.s3.reading import part_number
from moln_node.s3.representation import checksum_headers, quoted
from moln_node.s3.request_attributes import checked_class, describe
from moln_node.s3.sse import cover as covers
from moln_node.s3.sse import headers as sse_headers
from moln_node.s3.writing import MAX_PUT_BYTES, incoming
from moln_node.store.model import Attributes

if TYPE_CHECKING:
    from moln_node.s3.call import Call
    from moln_node.s3.checksums import Algorithm
    from moln_node.store.model import Sealed, Upload


async def create_multipart_upload(call: Call) -> web.Response:
    """CreateMultipartUpload."""
    check_key(call.key)
    described = describe(call.headers)
    algorithm, checksum_type = _asked_checksum(call)
    owned = ownership.for_object(call)
    cover = covers.for_write(call.keyring, call.headers, call.bucket_record, call.key, multipart=True)
    upload = await call.objects.create_upload(
        call.bucket,
        call.key,
        Attributes(
            owned.owner,
            described.headers,
            described.metadata,
            described.tags or {},
            owned.acl,
            cover.text,
            await locks.asked_for(call, call.headers, call.key),
        ),
        storage_class=checked_class(described.storage_class, call.bucket, call.key, call.objects.assign),
        checksum_algorithm=algorithm,
        checksum_type=checksum_type,
    )
    headers = {"x-amz-checksum-algorithm": algorithm, checksums.TYPE_HEADER: checksum_type} if algorithm else {}
    headers |= covers.shown(cover.text, call.headers)
    body = xml.document(
        "InitiateMultipartUploadResult",
        xml.leaf("Bucket", call.bucket),
        xml.leaf("Key", call.key),
        xml.leaf("UploadId", upload.id),
    )
    return web.Response(body=body, content_type="application/xml", headers=headers)


def _asked_checksum(call: Call) -> tuple[str, str]:
    """The checksum algorithm and type that an upload asks for; both empty where it asks for none."""
    name = call.headers.get("x-amz-checksum-algorithm")
    checksum_type = call.headers.get(checksums.TYPE_HEADER, "").upper()
    if name is None:
        if checksum_type:
            raise S3Error(
                "InvalidRequest", "The x-amz-checksum-type header can only be used with x-amz-checksum-algorithm."
            )
        return "", ""
    algorithm = checksums.algorithm_named(name, "x-amz-checksum-algorithm")
    checksum_type = checksum_type or algorithm.default_type
    if checksum_type not in checksums.TYPES:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if not algorithm.allows(checksum_type):
        raise S3Error(
            "InvalidRequest",
            f"The {checksum_type} checksum type cannot be used with the {algorithm.name.lower()} checksum algorithm.",
        )
    return algorithm.name, checksum_type


async def _upload(call: Call) -> tuple[int, Upload, Algorithm | None]:
    """The part number and the upload that a request names, and the algorithm that the upload demands."""
    number = part_number(call.query.get("partNumber", ""))
    upload = await call.objects.upload(call.bucket, call.key, call.query["uploadId"])
    return number, upload, checksums.ALGORITHMS.get(upload.checksum_algorithm)


async def upload_part(call: Call) -> web.Response:
    """UploadPart."""
    number, upload, algorithm = await _upload(call)
    body = incoming(call, covers.for_part(call, upload), number, algorithm)
    part = await call.objects.put_part(
        call.bucket, call.key, upload.id, number, body.body(), size=body.stored_size, seal=body.seal
    )
    shown = checksum_headers(part.checksum)
    shown.pop(checksums.TYPE_HEADER, None)
    shown |= covers.shown(upload.attributes.encryption, call.headers)
    return web.Response(headers={"ETag": quoted(part.etag)} | shown)


async def upload_part_copy(call: Call) -> web.Response:
    """UploadPartCopy: a part from a range of an object."""
    number, upload, algorithm = await _upload(call)
    cover = covers.for_part(call, upload)
    async with open_source(call) as (_, source_bucket, reading):
        original = reading.record
        source_cover = covers.for_read(call, original, sse_headers.SOURCE)
        range_header = call.headers.get("x-amz-copy-source-range")
        whole = ByteRange(0, original.size, original.size)
        span = parse_copy_range(range_header, original.size) if range_header is not None else whole
        if span.length > MAX_PUT_BYTES:
            raise S3Error("EntityTooLarge", ProposedSize=span.length, MaxSizeAllowed=MAX_PUT_BYTES)
        digest = BodyDigest(algorithm or checksums.ALGORITHMS[checksums.DEFAULT_ALGORITHM])

        async def seal() -> Sealed:
            return cover.sealed(digest, span.length, number)

        part = await call.objects.put_part(
            call.bucket,
            call.key,
            upload.id,
            number,
            cover.body(digest.passing(source_cover.read(reading, span.start, span.end)), number),
            size=cover.size(span.length),
            seal=seal,
        )
    body = xml.document("CopyPartResult", *result_elements(part.etag, part.modified_ms, part.checksum))
    headers = source_version(source_bucket, original) | covers.shown(upload.attributes.encryption, call.headers)
    return web.Response(body=body, content_type="application/xml", headers=headers)


async def abort_multipart_upload(call: Call) -> web.Response:
    """AbortMultipartUpload: drop the upload and its parts."""
    await call.objects.abort_upload(call.bucket, call.key, call.query["uploadId"])
    return web.Response(status=204)
