"""PutObject and DeleteObject, and what every write of bytes shares: limits, promised digests, the seal.

Handlers are called by the operation table; `incoming` also by `multipart`, `finished` by whoever wrote an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3 import checksums, conditions
from moln_node.s3.acl import ownership
from moln_node.s3.digests import BodyDigest, content_md5
from moln_node.s3.errors import S3Error
from moln_node.s3.lock import headers as locks
from moln_node.s3.names import check_key
from moln_node.s3.representation import checksum_headers, expiration_header, quoted, written_version
from moln_node.s3.request_attributes import checked_class, describe
from moln_node.s3.sse import cover as covers
from moln_node.s3.versions import refuse_places, version_of
from moln_node.store.model import Attributes, Versioning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from moln_node.s3.call import Call
    from moln_node.s3.checksums import Algorithm, Declared
    from moln_node.s3.sse.cover import Cover
    from moln_node.store.model import Bucket, Record, Sealed

MAX_PUT_BYTES: Final = 5 * 1024**3


@dataclass(frozen=True, slots=True)
class Incoming:
    """A body on its way in: its bytes, its declared size, its cover, and the promises that its digests must keep."""

    call: Call
    size: int
    cover: Cover
    part: int
    digest: BodyDigest
    declared: Declared | None
    md5: bytes | None

    def body(self) -> AsyncIterator[bytes]:
        """The bytes as they are stored; to be taken once."""
        return self.cover.body(self.call.body(self.digest.take), self.part)

    @property
    def stored_size(self) -> int:
        """How many bytes `body` yields."""
        return self.cover.size(self.size)

    async def seal(self) -> Sealed:
        """The digests, when the last byte has passed; BadDigest if a promise is broken."""
        self.digest.check_md5(self.md5)
        checksum = self.digest.checksum
        if self.declared is not None:
            self.declared.check(checksum.value, self.call.trailers.get(self.declared.algorithm.header))
        return self.cover.sealed(self.digest, self.size, self.part)


def incoming(call: Call, cover: Cover, part: int = 0, algorithm: Algorithm | None = None) -> Incoming:
    """The body of a put or of a part, before its first byte is read.

    `part` is a part's number, `algorithm` the one that its upload demands. MissingContentLength, EntityTooLarge,
    InvalidDigest, InvalidRequest.
    """
    size = call.size
    if size is None:
        raise S3Error("MissingContentLength")
    if size > MAX_PUT_BYTES:
        raise S3Error("EntityTooLarge", ProposedSize=size, MaxSizeAllowed=MAX_PUT_BYTES)
    declared = checksums.declared(call.headers)
    if declared is not None and algorithm is not None and declared.algorithm is not algorithm:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.name.lower()}, actual checksum Type:"
            f" {declared.algorithm.name.lower()}",
        )
    used = declared.algorithm if declared else algorithm or checksums.ALGORITHMS[checksums.DEFAULT_ALGORITHM]
    return Incoming(call, size, cover, part, BodyDigest(used), declared, content_md5(call.headers.get("Content-MD5")))


def finished(bucket: Bucket, record: Record, asking: Mapping[str, str]) -> dict[str, str]:
    """The headers that tell a writer, who asked with these, what became of its object."""
    return {
        "ETag": quoted(record.etag),
        **written_version(record),
        **checksum_headers(record.checksum),
        **expiration_header(bucket, record),
        **covers.shown(record.attributes.encryption, asking),
    }


async def put_object(call: Call) -> web.Response:
    """PutObject: write the body as the key's newest version."""
    check_key(call.key)
    refuse_places(call.query)
    described = describe(call.headers)
    bucket = call.bucket_record
    upload = incoming(call, covers.for_write(call.keyring, call.headers, bucket, call.key))
    owned = ownership.for_object(call)
    lock = await locks.for_write(call, call.headers, call.key)
    record = await call.objects.put(
        call.bucket,
        call.key,
        Attributes(
            owned.owner,
            described.headers,
            described.metadata,
            described.tags or {},
            owned.acl,
            upload.cover.text,
            lock,
        ),
        upload.body(),
        size=upload.stored_size,
        seal=upload.seal,
        storage_class=checked_class(described.storage_class, call.bucket, call.key, call.objects.assign),
        precondition=conditions.write_precondition(call.headers),
    )
    return web.Response(headers=finished(bucket, record, call.headers))


async def delete_object(call: Call) -> web.Response:
    """DeleteObject: drop the object, add a delete marker, or drop the named version."""
    version_id = version_of(call.query)
    deleted = await call.objects.delete(
        call.bucket,
        call.key,
        version_id,
        owner=call.identity.id,
        precondition=conditions.delete_precondition(call.headers),
        bypass_governance=await locks.bypasses(call, call.key),
    )
    headers: dict[str, str] = {}
    if deleted.delete_marker:
        headers["x-amz-delete-marker"] = "true"
    shown = version_id or (deleted.version_id if call.bucket_record.versioning is not Versioning.OFF else None)
    if shown is not None:
        headers["x-amz-version-id"] = shown
    return web.Response(status=204, headers=headers)
