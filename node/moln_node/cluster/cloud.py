"""`Objects` of a cloud: any node answers any request, from the owners of each key.

The wire calls it. It finds the bucket, the class and the owners, sends the bytes on their
way, and leaves every decision to `registers`. Multipart uploads are in `uploads`, listings in `listings`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from moln_node.cluster import locking, records
from moln_node.cluster.apart import Apart
from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.listings import Listings
from moln_node.cluster.messages import PartsAsk, SlotWrite, UsageAsk
from moln_node.cluster.readings import CloudReading, Located
from moln_node.cluster.registers import Change, from_holders
from moln_node.cluster.spreading import Spreading, forget
from moln_node.cluster.uploads import Uploads
from moln_node.store import documents, inline
from moln_node.store.clock import wall_ms
from moln_node.store.errors import CorruptError, NoSuchBucketError, QuotaExceededError, StoreError
from moln_node.store.ingest import gather
from moln_node.store.model import Deleted, Usage, Versioning
from moln_node.store.registers import NULL_SLOT, Register, Row, Space, tombstone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from moln_node.cluster.buckets import Buckets, Known
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.members import Members
    from moln_node.cluster.objects import Reading
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.cluster.sight import Sight
    from moln_node.store.documents import Parts
    from moln_node.store.model import (
        Attributes,
        Bucket,
        Listing,
        Part,
        Precondition,
        Record,
        Retention,
        Sealed,
        Upload,
        UploadListing,
        VersionListing,
    )
    from moln_node.store.reading import Held
    from moln_spec.classes import Assignment, Candidate

_TRIES: Final = 3


class CloudObjects:
    """Buckets, objects and uploads of the cloud that this node is one of. Every method is as `Objects` has it."""

    def __init__(self, local: LocalStore, members: Members, registers: Registers, buckets: Buckets) -> None:
        self._local = local
        self._members = members
        self._registers = registers
        self._buckets = buckets
        self._listings = Listings(members, registers)
        self.apart = Apart(self, registers)
        self._uploads = Uploads(self, members, registers, self._listings)

    async def create_bucket(self, bucket: Bucket) -> None:
        """See `Objects.create_bucket`."""
        await self._buckets.create(bucket)

    async def bucket(self, name: str) -> Bucket:
        """See `Objects.bucket`."""
        return (await self._buckets.get(name)).bucket

    async def buckets(self) -> tuple[Bucket, ...]:
        """See `Objects.buckets`."""
        return await self._listings.buckets()

    async def set_bucket(
        self,
        name: str,
        *,
        settings: Mapping[str, str | None] | None = None,
        versioning: Versioning | None = None,
        quota_bytes: int | None = None,
    ) -> Bucket:
        """See `Objects.set_bucket`."""
        return await self._buckets.change(name, settings, versioning, quota_bytes)

    async def delete_bucket(self, name: str) -> None:
        """See `Objects.delete_bucket`."""
        await self._buckets.delete(name, self._listings.is_empty)

    async def bucket_usage(self, name: str) -> Usage:
        """See `Objects.bucket_usage`: what the members that answer hold, scaled to all, divided by the copies."""
        known = await self._buckets.get(name)
        message = UsageAsk(name, known.incarnation)
        now = self._members.now
        members = now.owners.bucket.readers
        asked = [now.replica(node).usage(message) for node in members]
        answers = [a for a in await asyncio.gather(*asked, return_exceptions=True) if not isinstance(a, BaseException)]
        scale = len(members) / (max(1, len(answers)) * now.owners.copies(name))
        return Usage(
            round(sum(answer.objects for answer in answers) * scale),
            round(sum(answer.bytes for answer in answers) * scale),
        )

    def assign(self, candidate: Candidate) -> Assignment:
        """See `Objects.assign`."""
        return self._local.assign(candidate)

    async def put(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        body: AsyncIterator[bytes],
        *,
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        storage_class: str | None = None,
        precondition: Precondition | None = None,
    ) -> Record:
        """See `Objects.put`."""
        known = await self._buckets.get(bucket)
        await self.require_room(known, size)
        chosen, place = self._local.choose(bucket, key, attributes, size, storage_class)
        register = Register(Space.OBJECTS, key, bucket, known.incarnation)

        def row_of(sealed: Sealed, null: bool, body: str = "") -> Callable[[bytes], Row]:  # noqa: FBT001 (a closure)
            return partial(
                records.object_row,
                attributes=attributes,
                size=size,
                sealed=sealed,
                storage_class=chosen,
                null=null,
                modified_ms=wall_ms(),
                assigned=storage_class is None,
                body=body,
            )

        if place and size:
            async with self.apart.writing(register, place, chosen, body, size, seal) as written:
                null = await self._takes_null(known)
                row_at = written.naming(row_of(written.sealed, null, written.body))
                row = await self.put_row(register, row_at, lambda _, row: SlotWrite(row), precondition)
            return records.record(bucket, key, row)
        supply, sealed, staged = await self.take(register, body, size, seal, chosen)
        try:
            row = await self.put_row(register, row_of(sealed, await self._takes_null(known)), supply, precondition)
        except BaseException:
            await asyncio.shield(self.forget(staged))
            raise
        return records.record(bucket, key, row)

    async def _takes_null(self, known: Known) -> bool:
        """Whether a new object of the bucket is its key's null version now; NoSuchBucketError if it is another one."""
        return (await self.same(known)).bucket.versioning is not Versioning.ENABLED

    async def put_row(
        self,
        register: Register,
        row_at: Callable[[bytes], Row],
        supply: Callable[[str, Row], SlotWrite | None],
        precondition: Precondition | None,
    ) -> Row:
        """Make a row the newest of its register, if the precondition holds of what it replaces."""
        if precondition is None:
            return await self._registers.write(register, row_at, supply)

        def choose(view: View, ballot: bytes) -> Change:
            records.require(view, precondition)
            return Change((row_at(ballot),), supply)

        _, change = await self._registers.decide(register, choose)
        return change.rows[0]

    async def take(
        self,
        register: Register,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        storage_class: str,
        *,
        small: bool = True,
    ) -> tuple[Callable[[str, Row], SlotWrite | None], Sealed, dict[str, str]]:
        """Take a body in: how each owner gets it with the record, its seal, and what was staged by owner."""
        own = self._members.sole(register)
        if own is not None:
            here, sealed = await own.take_in(register, storage_class, body, size, seal, small=small)
            me = self._members.me
            return (lambda owner, row: SlotWrite(row, staged=here) if owner == me else None), sealed, {me: here}
        if size == 0 or (small and size <= inline.LIMIT):
            data = await gather(body, size)
            return (lambda _, row: SlotWrite(row, inline=data)), await seal(), {}
        now = self._members.now
        electorate = now.electorate(register)
        mode = now.policy(register).write
        if mode != "majority":
            electorate = electorate.wanting(1 if mode == "one" else len(electorate.owners))
        spreading = Spreading({name: now.replica(name) for name in electorate.owners}, electorate, storage_class, size)
        staged = await spreading.run(body)
        try:
            sealed = await seal()
        except BaseException:
            await asyncio.shield(self.forget(staged))
            raise

        def supply(owner: str, row: Row) -> SlotWrite | None:
            return SlotWrite(row, staged=staged[owner]) if owner in staged else None

        return supply, sealed, staged

    async def forget(self, staged: Mapping[str, str]) -> None:
        """Let staged bytes go that no record refers to; owners that took them have forgotten them already."""
        await asyncio.gather(*(forget(self._members.replica, owner, held) for owner, held in staged.items()))

    async def known(self, bucket: str) -> Known:
        """The bucket; NoSuchBucketError."""
        return await self._buckets.get(bucket)

    async def same(self, known: Known) -> Known:
        """The bucket as it is now, if it is still the one that a write was admitted to."""
        now = await self._buckets.get(known.bucket.name)
        if now.incarnation != known.incarnation:
            raise NoSuchBucketError(f"bucket {known.bucket.name!r} was deleted meanwhile")
        return now

    async def require_room(self, known: Known, size: int) -> None:
        """QuotaExceededError if the bucket would hold more than its quota, by what the nodes say that they hold."""
        quota = known.bucket.quota_bytes
        if quota is None or self._members.own.alone:  # a node that is alone reserves the room to the byte
            return
        used = (await self.bucket_usage(known.bucket.name)).bytes
        if used + size > quota:
            raise QuotaExceededError(
                f"the bucket would hold {used + size} bytes, its quota is {quota}: delete objects or raise the quota"
            )

    def choose(
        self, bucket: str, key: str, attributes: Attributes, size: int | None, requested: str | None
    ) -> tuple[str, str]:
        """The storage class of a new object, and the place of its bytes: empty where they are with the record."""
        return self._local.choose(bucket, key, attributes, size, requested)

    async def head(self, bucket: str, key: str, version_id: str | None = None) -> Record:
        """See `Objects.head`."""
        return (await self._locate(bucket, key, version_id)).record

    def open(self, bucket: str, key: str, version_id: str | None = None) -> AbstractAsyncContextManager[Reading]:
        """See `Objects.open`."""
        return CloudReading(self._members, lambda sight: self._locate(bucket, key, version_id, sight))

    async def _locate(self, bucket: str, key: str, version_id: str | None, sight: Sight | None = None) -> Located:
        """Find a version, and who holds it; its bytes only with a `sight`."""
        known = await self._buckets.get(bucket)
        register = Register(Space.OBJECTS, key, bucket, known.incarnation)
        for _ in range(_TRIES):
            located = await self._locate_in(register, version_id, sight)
            if located is not None:
                return located
        raise UnavailableError("the bytes that the record names are with none of their owners: try again")

    async def _locate_in(self, register: Register, version_id: str | None, sight: Sight | None) -> Located | None:
        """As `_locate`; None where the body that the record named is gone, as when another one took its place."""
        bucket, key = register.bucket, register.key
        slot = None if version_id is None else records.slot_of(version_id)
        one = self._members.now.policy(register).read == "one"
        view = await (self._registers.glance if one else self._registers.look)(register, slot, sight)
        row = records.live_row(view, version_id)
        holders = tuple(sorted(view.holders[row.slot], key=lambda name: (name != self._members.me, name)))
        apart = bool(row.document.body)
        held = None if sight is None or apart else self._held(register, row, sight)
        if held is not None:
            parts = held.parts
        else:
            parts = await self.parts_of(register, row, holders) if row.document.upload else ()
        latest = version_id is None or row.slot == NULL_SLOT
        record = records.record(bucket, key, row, parts=parts, latest=latest)
        if sight is None or not apart:
            return Located(register, row, record, holders, held)
        found = await self.apart.find(register, row.document.body, sight)
        if found is None:
            return None
        there, body, owners = found
        return Located(there, body, record, tuple(sorted(owners)), self._held(there, body, sight))

    def _held(self, register: Register, row: Row, sight: Sight) -> Held | None:
        """The bytes of the version where this node has them; CorruptError if they are bad and nobody else has any."""
        try:
            return sight.held(row.version)
        except CorruptError as error:
            if self._members.sole(register) is not None:
                raise
            self._members.own.damaged(register, row, str(error))
            return None

    async def parts_of(self, register: Register, row: Row, holders: Sequence[str]) -> Parts:
        """What a version was uploaded as."""
        for holder in holders:
            try:
                answer = await self._members.replica(holder).parts(PartsAsk(register, row.version))
            except (PeerError, StoreError):
                continue
            if answer.parts is not None:
                return answer.parts
        return ()

    async def set_attributes(
        self,
        bucket: str,
        key: str,
        version_id: str | None,
        *,
        tags: Mapping[str, str] | None = None,
        acl: str | None = None,
        retention: Retention | None = None,
        hold: str | None = None,
        bypass_governance: bool = False,
    ) -> Record:
        """See `Objects.set_attributes`."""
        known = await self._buckets.get(bucket)
        register = Register(Space.OBJECTS, key, bucket, known.incarnation)
        slot = None if version_id is None else records.slot_of(version_id)

        def choose(view: View, ballot: bytes) -> Change:
            row = records.live_row(view, version_id)
            lock = documents.lock_model(row.document.lock)
            if retention is not None:
                locking.require_retainable(lock, retention, wall_ms(), bypass=bypass_governance)
                lock = replace(lock, retention=retention)
            if hold is not None:
                lock = replace(lock, hold=hold)
            document = msgspec.structs.replace(
                row.document,
                tags=row.document.tags if tags is None else dict(tags),
                acl=row.document.acl if acl is None else acl,
                lock=documents.lock_tuple(lock),
            )
            return Change((Row(row.version, ballot, document),), from_holders(view))

        _, change = await self._registers.decide(register, choose, slot=slot)
        return records.record(bucket, key, change.rows[0])

    async def delete(
        self,
        bucket: str,
        key: str,
        version_id: str | None = None,
        *,
        owner: str = "",
        precondition: Precondition | None = None,
        bypass_governance: bool = False,
    ) -> Deleted:
        """See `Objects.delete`."""
        known = await self._buckets.get(bucket)
        register = Register(Space.OBJECTS, key, bucket, known.incarnation)
        if version_id is not None:
            return await self._delete_version(register, version_id, precondition, bypass=bypass_governance)
        versioning = known.bucket.versioning
        now_ms = wall_ms()

        def row_at(version: bytes) -> Row:
            if versioning is Versioning.OFF:
                return tombstone(version, version, null=True, now_ms=now_ms)
            return records.marker_row(version, owner, null=versioning is Versioning.SUSPENDED, modified_ms=now_ms)

        def choose(view: View, ballot: bytes) -> Change:
            newest = view.newest
            if precondition is not None and newest is not None:
                records.meet(precondition, newest.document)  # also a delete marker: only `*` matches it
            return Change((row_at(ballot),))

        if precondition is None:
            row = await self._registers.write(register, row_at)
        else:
            row = (await self._registers.decide(register, choose))[1].rows[0]
        if versioning is Versioning.OFF:
            return Deleted(None, delete_marker=False)
        return Deleted(records.shown_id(row), delete_marker=True)

    async def _delete_version(
        self, register: Register, version_id: str, precondition: Precondition | None, *, bypass: bool
    ) -> Deleted:
        """Drop one version for good."""
        slot = records.slot_of(version_id)
        if slot is None:
            return Deleted(None, delete_marker=False)

        def choose(view: View, ballot: bytes) -> Change:
            row = view.rows.get(slot)
            if row is None or not row.live:
                return Change()
            if precondition is not None:
                records.meet(precondition, row.document)
            locking.require_removable(documents.lock_model(row.document.lock), wall_ms(), bypass=bypass)
            null = row.document.null
            grave = tombstone(ballot if null else row.version, ballot, null=null, now_ms=wall_ms())
            return Change((grave,))

        view, change = await self._registers.decide(register, choose, slot=slot)
        if not change.rows:
            return Deleted(None, delete_marker=False)
        return Deleted(version_id, delete_marker=view.rows[slot].document.delete_marker)

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """See `Objects.list_objects`."""
        known = await self._buckets.get(bucket)
        return await self._listings.objects(known, prefix, delimiter, after, limit)

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_version: str | None = None,
        limit: int = 1000,
    ) -> VersionListing:
        """See `Objects.list_versions`."""
        known = await self._buckets.get(bucket)
        return await self._listings.versions(known, prefix, delimiter, after_key, after_version, limit)

    async def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        *,
        storage_class: str | None = None,
        checksum_algorithm: str = "",
        checksum_type: str = "",
    ) -> Upload:
        """See `Objects.create_upload`."""
        return await self._uploads.create(bucket, key, attributes, storage_class, (checksum_algorithm, checksum_type))

    async def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """See `Objects.upload`."""
        return await self._uploads.get(bucket, key, upload_id)

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: AsyncIterator[bytes],
        *,
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
    ) -> Part:
        """See `Objects.put_part`."""
        return await self._uploads.put_part(bucket, key, upload_id, number, body, size, seal)

    async def parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[Part, ...]:
        """See `Objects.parts`."""
        return await self._uploads.parts(bucket, key, upload_id, after, limit)

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Part],
        sealed: Sealed,
        *,
        precondition: Precondition | None = None,
        retention: Retention | None = None,
    ) -> Record:
        """See `Objects.complete_upload`."""
        return await self._uploads.complete(bucket, key, upload_id, parts, sealed, precondition, retention)

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """See `Objects.abort_upload`."""
        await self._uploads.abort(bucket, key, upload_id)

    async def uploads(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after_key: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> UploadListing:
        """See `Objects.uploads`."""
        return await self._uploads.under_way(bucket, prefix, delimiter, after_key, after_upload, limit)
