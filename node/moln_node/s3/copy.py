"""CopyObject: read a version, write it under another key, with its own or with new metadata.

Called by the operation table. The bytes pass through this node as those of a put do: checked, hashed, never all at
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3 import checksums, conditions, xml
from moln_node.s3.acl import ownership
from moln_node.s3.copy_source import open_source
from moln_node.s3.digests import BodyDigest
from moln_node.s3.errors import S3Error
from moln_node.s3.lock import headers as locks
from moln_node.s3.names import check_key
from moln_node.s3.representation import quoted, second, written_version
from moln_node.s3.request_attributes import checked_class, describe
from moln_node.s3.sse import cover as covers
from moln_node.s3.sse import headers as sse_headers
from moln_node.s3.versions import refuse_places
from moln_node.s3.writing import MAX_PUT_BYTES
from moln_node.store.model import Attributes, Versioning

if TYPE_CHECKING:
    from moln_node.s3.call import Call
    from moln_node.s3.checksums import Algorithm
    from moln_node.s3.copy_source import Source
    from moln_node.s3.request_attributes import Described
    from moln_node.store.model import Bucket, Checksum, Lock, Record, Sealed

COPY: Final = "COPY"
REPLACE: Final = "REPLACE"


async def copy_object(call: Call) -> web.Response:
    """CopyObject."""
    check_key(call.key)
    refuse_places(call.query)
    described = describe(call.headers)
    new_metadata = _replaces(call, "x-amz-metadata-directive", "metadata")
    new_tags = _replaces(call, "x-amz-tagging-directive", "tagging")
    storage_class = checked_class(described.storage_class, call.bucket, call.key, call.objects.assign)
    owned = ownership.for_object(call)
    cover = covers.for_write(call.keyring, call.headers, call.bucket_record, call.key)
    lock = await locks.for_write(call, call.headers, call.key)
    async with open_source(call) as (source, source_bucket, reading):
        original = reading.record
        changed = new_metadata or described.storage_class is not None or sse_headers.asked(call.headers) is not None
        _check_source(call, source, original, changed=changed)
        source_cover = covers.for_read(call, original, sse_headers.SOURCE)
        digest = BodyDigest(_algorithm(call, original))

        async def seal() -> Sealed:
            return cover.sealed(digest, original.size)

        record = await call.objects.put(
            call.bucket,
            call.key,
            _attributes(owned, described, original, cover.text, lock, new_metadata=new_metadata, new_tags=new_tags),
            cover.body(digest.passing(source_cover.read(reading, 0, original.size))),
            size=cover.size(original.size),
            seal=seal,
            storage_class=storage_class,
            precondition=conditions.write_precondition(call.headers),
        )
    headers = written_version(record) | source_version(source_bucket, original)
    headers |= covers.shown(cover.text, call.headers)
    return web.Response(body=_result(record), content_type="application/xml", headers=headers)


def source_version(bucket: Bucket, record: Record) -> dict[str, str]:
    """Which version was copied, where the source's bucket has versions."""
    if bucket.versioning is Versioning.OFF:
        return {}
    return {"x-amz-copy-source-version-id": record.version_id}


def result_elements(etag: str, modified_ms: int, checksum: Checksum | None) -> tuple[str, ...]:
    """What the results of CopyObject and UploadPartCopy have in common."""
    return (
        xml.leaf("LastModified", second(modified_ms)),
        xml.leaf("ETag", quoted(etag)),
        xml.leaf(f"Checksum{checksum.algorithm}", checksum.value) if checksum else "",
    )


def _result(record: Record) -> bytes:
    checksum_type = xml.leaf("ChecksumType", record.checksum.type) if record.checksum else ""
    elements = result_elements(record.etag, record.modified_ms, record.checksum)
    return xml.document("CopyObjectResult", *elements, checksum_type)


def _replaces(call: Call, header: str, what: str) -> bool:
    """Whether a directive says REPLACE; COPY is what it says when it is absent."""
    directive = call.headers.get(header, COPY).upper()
    if directive not in {COPY, REPLACE}:
        raise S3Error("InvalidArgument", f"Unknown {what} directive.", ArgumentName=header, ArgumentValue=directive)
    return directive == REPLACE


def _check_source(call: Call, source: Source, record: Record, *, changed: bool) -> None:
    """Refuse a copy onto itself that changes nothing, and a source that only parts can copy."""
    if (source.bucket, source.key, source.version_id) == (call.bucket, call.key, None) and not changed:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes.",
        )
    if record.size > MAX_PUT_BYTES:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy source:"
            f" {MAX_PUT_BYTES}. Copy it in parts.",
        )


def _algorithm(call: Call, original: Record) -> Algorithm:
    """The checksum of the copy: the one asked for, the source's, or the default."""
    asked = call.headers.get("x-amz-checksum-algorithm")
    if asked is not None:
        return checksums.algorithm_named(asked, "x-amz-checksum-algorithm")
    name = original.checksum.algorithm if original.checksum else checksums.DEFAULT_ALGORITHM
    return checksums.ALGORITHMS[name]


def _attributes(
    owned: ownership.Ownership,
    described: Described,
    original: Record,
    encryption: str,
    lock: Lock,
    *,
    new_metadata: bool,
    new_tags: bool,
) -> Attributes:
    """The copy's attributes: the request's where a directive says REPLACE, the source's elsewhere."""
    kept = original.attributes
    return Attributes(
        owned.owner,
        described.headers if new_metadata else kept.headers,
        described.metadata if new_metadata else kept.metadata,
        (described.tags or {}) if new_tags else kept.tags,
        owned.acl,
        encryption,
        lock,
    )
