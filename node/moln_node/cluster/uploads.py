"""Multipart uploads: an upload is a register, and so is each part, all on the key's owners.

Completing one is a single accept: the owners make a record of the parts that it names and end the upload with them, in
one transaction each. No byte is copied. Where bytes are apart from records, the parts are with the owners of the body:
first these make them the body, then the record's owners take the record that names it, and end the upload.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from moln_node.cluster import bodykeys, records, uploadkeys
from moln_node.cluster.apart import Assembly
from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.merging import Merging, Where
from moln_node.cluster.messages import SlotWrite
from moln_node.cluster.registers import Change
from moln_node.store import documents
from moln_node.store.clock import wall_ms
from moln_node.store.documents import Flag, RecordDocument
from moln_node.store.errors import InvalidPartError, NoSuchUploadError
from moln_node.store.listing import end_of
from moln_node.store.model import Part, Upload, UploadListing, Versioning
from moln_node.store.registers import Register, Row, Space, tombstone
from moln_node.store.scan import Query, past
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from moln_node.cluster.apart import Written
    from moln_node.cluster.buckets import Known
    from moln_node.cluster.cloud import CloudObjects
    from moln_node.cluster.listings import Listings
    from moln_node.cluster.members import Members
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.store.documents import Parts
    from moln_node.store.model import Attributes, Precondition, Record, Retention, Sealed

_MOST_PARTS = 10_000
_ABORTS_AT_ONCE = 8


class Uploads:
    """Uploads under way."""

    def __init__(self, cloud: CloudObjects, members: Members, registers: Registers, listings: Listings) -> None:
        self._cloud = cloud
        self._members = members
        self._registers = registers
        self._listings = listings

    async def create(
        self, bucket: str, key: str, attributes: Attributes, requested: str | None, checksum: tuple[str, str]
    ) -> Upload:
        """Begin an upload; its id sorts by when it began."""
        known = await self._cloud.known(bucket)
        chosen, place = self._cloud.choose(bucket, key, attributes, None, requested)
        upload_id = bodykeys.name(Version.from_bytes(await self._registers.ballot()).encode(), place)
        document = RecordDocument(
            flags=Flag.NULL | (Flag.ASSIGNED if requested is None else 0),
            modified_ms=wall_ms(),
            size=0,
            etag="",
            storage_class=chosen,
            owner=attributes.owner,
            headers=dict(attributes.headers),
            metadata=dict(attributes.metadata),
            tags=dict(attributes.tags),
            acl=attributes.acl,
            checksum=(checksum[0], "", checksum[1]),
            segments=(),
            encryption=attributes.encryption,
            lock=documents.lock_tuple(attributes.lock),
        )
        register = _upload_register(known, key, upload_id)
        row = await self._registers.write(register, lambda version: Row(version, version, document))
        return _upload(bucket, key, upload_id, row)

    async def get(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The upload; NoSuchUploadError."""
        return await self._get(await self._cloud.known(bucket), key, upload_id)

    async def _get(self, known: Known, key: str, upload_id: str) -> Upload:
        row = (await self._registers.look(_upload_register(known, key, upload_id))).newest
        if row is None:
            raise NoSuchUploadError(
                f"there is no upload {upload_id!r} of this key: it was completed, aborted or never made"
            )
        return _upload(known.bucket.name, key, upload_id, row)

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
    ) -> Part:
        """Keep a part, in place of an earlier one of that number; NoSuchUploadError.

        Who ends an upload does away with the parts that there are by then. So a part must still find it under way once
        it is there itself.
        """
        known = await self._cloud.known(bucket)
        await self._cloud.require_room(known, size)
        upload = await self._get(known, key, upload_id)
        register = _register(known, uploadkeys.part(key, upload_id, number))
        supply, sealed, staged = await self._cloud.take(register, body, size, seal, upload.storage_class, small=False)
        modified_ms = wall_ms()
        try:
            known = await self._cloud.same(known)
            row = await self._registers.write(
                register,
                lambda version: records.object_row(
                    version, upload.attributes, size, sealed, upload.storage_class, null=True, modified_ms=modified_ms
                ),
                supply,
            )
        except BaseException:
            await asyncio.shield(self._cloud.forget(staged))
            raise
        try:
            await self._get(known, key, upload_id)
        except NoSuchUploadError:
            await asyncio.shield(end_part(self._registers, register))
            raise
        return _part(number, row)

    async def parts(self, bucket: str, key: str, upload_id: str, after: int, limit: int) -> tuple[Part, ...]:
        """The parts by number, strictly after `after`."""
        known = await self._cloud.known(bucket)
        await self._get(known, key, upload_id)
        return tuple([_part(number, row) async for number, row in self._rows(known, key, upload_id, after, limit)])

    async def _rows(
        self, known: Known, key: str, upload_id: str, after: int = -1, limit: int = _MOST_PARTS
    ) -> AsyncIterator[tuple[int, Row]]:
        """The parts that a majority of the owners has, by number."""
        alike = _register(known, uploadkeys.part(key, upload_id, 0))
        merging = Merging(self._members, self._registers, replace(_where(known), alike=alike))
        start = uploadkeys.part(key, upload_id, after + 1).encode()
        query = Query((start, b""), past(uploadkeys.parts(key, upload_id).encode()), limit)
        found = 0
        async for entry in merging.entries(query):
            if found == limit:
                return
            found += 1
            yield uploadkeys.part_number(entry.key.decode()), entry.row

    async def complete(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        wanted: Sequence[Part],
        sealed: Sealed,
        precondition: Precondition | None,
        retention: Retention | None,
    ) -> Record:
        """Make the wanted parts, in this order, the object; the others are dropped."""
        known = await self._cloud.known(bucket)
        register = Register(Space.OBJECTS, key, bucket, known.incarnation)
        try:
            upload = await self._get(known, key, upload_id)
        except NoSuchUploadError:
            newest = (await self._registers.look(register)).newest
            if newest is None or newest.document.upload != upload_id:
                raise
            return await self._cloud.head(bucket, key)
        if any(part.number >= follower.number for part, follower in pairwise(wanted)):
            raise InvalidPartError("a part is named twice, or out of order")
        ends = (uploadkeys.upload(key, upload_id), uploadkeys.parts(key, upload_id))
        modified_ms = wall_ms()
        attributes = upload.attributes
        if retention is not None and not attributes.lock.retention.mode:
            attributes = replace(attributes, lock=replace(attributes.lock, retention=retention))

        def row_of(size: int, body: str = "") -> Callable[[bytes], Row]:
            return partial(
                records.object_row,
                attributes=attributes,
                size=size,
                sealed=sealed,
                storage_class=upload.storage_class,
                null=known.bucket.versioning is not Versioning.ENABLED,
                modified_ms=modified_ms,
                upload=upload_id,
                assigned=upload.assigned,
                body=body,
            )

        if bodykeys.place_of(upload_id):
            written, size, parts = await self._body(known, register, upload, wanted, sealed, precondition)
            row_at = written.naming(row_of(size, written.body))
            taken: tuple[tuple[str, bytes], ...] = ()
        else:
            assembly = await self._assembly(known, key, upload_id, wanted)
            parts, taken = assembly.parts, assembly.taken
            row_at = row_of(assembly.size)

        def supply(_: str, row: Row) -> SlotWrite:
            return SlotWrite(row, parts=parts, upload=ends, taken=taken)

        row = await self._cloud.put_row(register, row_at, supply, precondition)
        return records.record(bucket, key, row, parts=parts)

    async def _assembly(self, known: Known, key: str, upload_id: str, wanted: Sequence[Part]) -> Assembly:
        """What the wanted parts amount to; InvalidPartError if one is not there."""
        there = {number: row async for number, row in self._rows(known, key, upload_id)}
        chosen = [_chosen(part, there.get(part.number)) for part in wanted]
        return Assembly(
            size=sum(row.document.size for _, row in chosen),
            parts=documents.parts_tuple(tuple(_part(number, row) for number, row in chosen)),
            taken=tuple((uploadkeys.part(key, upload_id, number), row.version) for number, row in chosen),
            prefix=uploadkeys.parts(key, upload_id),
        )

    async def _body(
        self,
        known: Known,
        register: Register,
        upload: Upload,
        wanted: Sequence[Part],
        sealed: Sealed,
        precondition: Precondition | None,
    ) -> tuple[Written, int, Parts]:
        """Make the wanted parts the body that the record will name, or find what an earlier try has made of them."""
        apart, upload_id = self._cloud.apart, upload.id
        made = await apart.assembled(register, upload_id)
        if made is not None:
            if [(part.number, part.etag) for part in wanted] != [(number, etag) for number, _, etag, *_ in made[1]]:
                raise InvalidPartError("an earlier try to complete this upload named other parts: name those")
            written = await apart.refresh(register, upload_id, sealed)
            if written is None:
                raise UnavailableError("the upload is being completed or aborted by another request: try again")
            return written, *made
        assembly = await self._assembly(known, register.key, upload_id, wanted)
        if precondition is not None:  # as far as it is known before the parts end
            records.require(await self._registers.look(register), precondition)
        written = await apart.assemble(register, upload_id, upload.storage_class, sealed, assembly)
        return written, assembly.size, assembly.parts

    async def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Drop an upload and its parts; NoSuchUploadError."""
        known = await self._cloud.known(bucket)

        def end(view: View, ballot: bytes) -> Change:
            if view.newest is None:
                raise NoSuchUploadError(
                    f"there is no upload {upload_id!r} of this key: it was completed, aborted or never made"
                )
            return Change((tombstone(ballot, ballot, null=True, now_ms=wall_ms()),))

        await self._registers.decide(_upload_register(known, key, upload_id), end)
        limit = asyncio.Semaphore(_ABORTS_AT_ONCE)

        async def drop(number: int) -> None:
            async with limit:
                register = _register(known, uploadkeys.part(key, upload_id, number))
                await self._registers.write(register, _grave)

        numbers = [number async for number, _ in self._rows(known, key, upload_id)]
        await asyncio.gather(*(drop(number) for number in numbers))

    async def under_way(
        self, bucket: str, prefix: str, delimiter: str, after_key: str, after_upload: str, limit: int
    ) -> UploadListing:
        """A page of uploads under way; see `Objects.uploads`."""
        known = await self._cloud.known(bucket)
        merging = Merging(self._members, self._registers, _where(known))
        begin = uploadkeys.uploads_from(prefix).encode()
        start = begin
        if after_key:
            behind = uploadkeys.upload(after_key, after_upload).encode()
            start = max(begin, behind + b"\0" if after_upload else past(behind))
        found: list[Upload] = []
        prefixes: list[str] = []
        next_key, next_upload = "", ""
        async for entry in merging.entries(Query((start, b""), end_of(begin), limit + 1)):
            register_key = entry.key.decode()
            key, upload_id = uploadkeys.object_key(register_key), uploadkeys.upload_id(register_key)
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            group = "" if cut < 0 else key[: cut + len(delimiter)]
            if group and (group == after_key or group in prefixes[-1:]):
                continue
            if len(found) + len(prefixes) >= limit:
                return UploadListing(tuple(found), tuple(prefixes), next_key or None, next_upload or None)
            next_key, next_upload = group or key, "" if group else upload_id
            if group:
                prefixes.append(group)
            else:
                found.append(_upload(bucket, key, upload_id, entry.row))
        return UploadListing(tuple(found), tuple(prefixes), None, None)


async def end_part(registers: Registers, register: Register) -> None:
    """Do away with a part of an upload that has ended."""

    def end(view: View, ballot: bytes) -> Change:
        return Change() if view.newest is None else Change((_grave(ballot),))

    await registers.decide(register, end)


def _where(known: Known) -> Where:
    return Where(Space.UPLOADS, known.bucket.name, known.incarnation)


def _register(known: Known, register_key: str) -> Register:
    return Register(Space.UPLOADS, register_key, known.bucket.name, known.incarnation)


def _upload_register(known: Known, key: str, upload_id: str) -> Register:
    return _register(known, uploadkeys.upload(key, upload_id))


def _grave(version: bytes) -> Row:
    return tombstone(version, version, null=True, now_ms=wall_ms())


def _upload(bucket: str, key: str, upload_id: str, row: Row) -> Upload:
    document = row.document
    algorithm, _, kind = document.checksum or ("", "", "")
    attributes = documents.attributes_model(document)
    return Upload(
        upload_id,
        bucket,
        key,
        document.modified_ms,
        attributes,
        document.storage_class,
        algorithm,
        kind,
        document.assigned,
    )


def _part(number: int, row: Row) -> Part:
    document = row.document
    check = documents.checksum_model(document.checksum)
    return Part(number, document.shown_size, document.etag, document.modified_ms, check)


def _chosen(wanted: Part, row: Row | None) -> tuple[int, Row]:
    """The part that a completion names; InvalidPartError if it is not there."""
    if row is None or row.document.etag != wanted.etag:
        raise InvalidPartError(f"part {wanted.number} is not there, or has another ETag")
    return wanted.number, row
