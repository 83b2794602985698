"""Rewriting: what is kept already comes to be as the map's classes and rules have it today, where a person asks for it.

Two steps, each of which may be asked for again at any time and then only does what is left. `Reassigning` gives objects
the class that the rules say today: a change of the record, decided among its owners as any other change of a key.
`Rewriting` packs the bytes on this disk as their class says today: no other node hears of it. Called by `maintenance`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from xxhash import xxh3_128

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.messages import Ask
from moln_node.cluster.registers import Change, from_holders
from moln_node.cluster.sight import Sight
from moln_node.store import inline, kept, lookup
from moln_node.store.bodyfile import BLOCK
from moln_node.store.codec import Compressor
from moln_node.store.documents import LayoutDocument, Place, Segment
from moln_node.store.errors import CorruptError, NoSuchBucketError
from moln_node.store.model import Sealed
from moln_node.store.reading import Held
from moln_node.store.registers import NULL_SLOT, Register, Row, Space
from moln_node.store.scan import past
from moln_node.store.steps import replica as steps
from moln_node.store.steps.replica import Outcome, Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.quorum import View
    from moln_node.store.bodies import NewBody
    from moln_node.store.documents import RecordDocument
    from moln_node.store.ledger import Reservation
    from moln_node.store.report import Report
    from moln_node.store.transaction import BucketRow
    from moln_spec.classes import Assignment
    from moln_spec.version import Version

_PAGE: Final = 100
_LONGEST_REST_SECONDS: Final = 0.5
_AT_A_TIME: Final = 1024 * 1024
"""Bytes after which it rests."""
_PACE_SECONDS: Final = 5.0
"""How long it must have gone on before its pace says anything."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects: those of a bucket (empty: of all) whose keys begin with a prefix."""

    bucket: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A version of an object that this node keeps."""

    register: Register
    version: Version
    document: RecordDocument

    @property
    def slot(self) -> bytes:
        """Where it is in its register."""
        return NULL_SLOT if self.document.null else self.version.to_bytes()


class Pace:
    """Rests as long as it has worked, so that clients have at least half of the disk and the processor."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    async def rest(self) -> None:
        """Rest for the work since the last rest."""
        await asyncio.sleep(min(time.monotonic() - self._begun, _LONGEST_REST_SECONDS))
        self._begun = time.monotonic()


class Walk:
    """Every object version that this node keeps in a scope, a page at a time, and how far that is.

    Attributes:
        pace: at which it goes.
        total: versions there were when it began.
        seen: of them, gone by.
    """

    def __init__(self, local: LocalStore, report: Report, scope: Scope) -> None:
        self._local = local
        self._report = report
        self._scope = scope
        self._start = scope.prefix.encode()
        self._upper = past(self._start)
        self.pace = Pace()
        self.total = self.seen = self.bad = 0

    async def versions(self) -> AsyncIterator[Kept]:
        """Each of them; NoSuchBucketError where the scope's bucket is not there."""
        store = self._local.store
        rows = [row for row in store.buckets.values() if self._scope.bucket in ("", row.bucket.name)]
        if self._scope.bucket and not rows:
            raise NoSuchBucketError(f"there is no bucket {self._scope.bucket!r}")
        for row in rows:
            self.total += await store.look(lambda db, row=row: kept.count(db, row.id, self._start, self._upper))  # type: ignore[misc]
        begun = time.monotonic()
        for row in rows:
            place = (self._start, b"")
            while page := await store.look(
                lambda db, row=row, place=place: kept.page(db, row.id, place, self._upper, _PAGE)  # type: ignore[misc]
            ):
                self._tell(begun)
                for key, inverse, stored in page:
                    self.seen += 1
                    one = self._decode(row, key, inverse, stored)
                    if one is not None and one.document.counted:
                        yield one
                place = page[-1][:2]
                await self.pace.rest()
        self._tell(begun)

    def _decode(self, row: BucketRow, key: bytes, inverse: bytes, stored: bytes) -> Kept | None:
        register = Register(Space.OBJECTS, key.decode(), row.bucket.name, row.incarnation)
        try:
            return Kept(register, *lookup.decode_record(row.id, key, inverse, stored))
        except CorruptError as error:
            self.damaged(register, error)
            return None

    def damaged(self, register: Register, error: CorruptError) -> None:
        """Tell of a copy that can't be read: it is left as it is."""
        self.bad += 1
        self._report.found(f"{register.path}: {error}")

    def _tell(self, begun: float) -> None:
        gone = time.monotonic() - begun
        if self.seen and gone >= _PACE_SECONDS:
            self._report.set(seconds_left=round(gone * max(0, self.total - self.seen) / self.seen))
        self._report.set(versions=self.seen, total=self.total, bad=self.bad)


class Reassigning:
    """Gives objects the class that the rules say today; see `maintenance.reassign`."""

    def __init__(self, local: LocalStore, cluster: Cluster, report: Report, scope: Scope) -> None:
        self._local = local
        self._members = cluster.members
        self._registers = cluster.registers
        self._report = report
        self._walk = Walk(local, report, scope)
        self._counts = dict.fromkeys(("differing", "bytes", "reassigned", "unanswered"), 0)

    async def run(self, *, dry_run: bool) -> None:
        """Go over everything that it is this node's to tell of, once."""
        self._report.set(**self._counts)
        async for one in self._walk.versions():
            if not self._is_mine(one.register):
                continue
            assigned = today(self._local, one.register, one.document)
            if assigned is None:
                continue
            self._counts["differing"] += 1
            self._counts["bytes"] += one.document.size
            words = f"{one.document.storage_class} -> {assigned.storage_class} ({assigned.reason})"
            self._report.found(f"{one.register.path}: {words}")
            if not dry_run:
                await self._change(one)
                await self._walk.pace.rest()
            self._report.set(**self._counts)

    def _is_mine(self, register: Register) -> bool:
        """Of all owners the first tells of a register, and changes it."""
        return self._members.now.electorate(register).owners[0] == self._members.me

    async def _change(self, one: Kept) -> None:
        """A conditional write, as of tags: of this version, if it is still there and the rules still want it moved."""

        def choose(view: View, ballot: bytes) -> Change:
            row = view.rows.get(one.slot)
            if row is None or row.version != one.version.to_bytes() or not row.document.counted:
                return Change()
            assigned = today(self._local, one.register, row.document)
            if assigned is None:
                return Change()
            document = msgspec.structs.replace(row.document, storage_class=assigned.storage_class)
            return Change((Row(row.version, ballot, document),), from_holders(view))

        try:
            _, change = await self._registers.decide(one.register, choose, slot=one.slot)
        except (PeerError, UnavailableError):
            self._counts["unanswered"] += 1
        except NoSuchBucketError:
            return
        else:
            self._counts["reassigned"] += len(change.rows)


class Rewriting:
    """Packs the bytes on this disk as their classes say today; see `maintenance.rewrite`."""

    def __init__(self, local: LocalStore, cluster: Cluster, report: Report, scope: Scope) -> None:
        self._local = local
        self._store = local.store
        self._own = cluster.members.own
        self._report = report
        self._walk = Walk(local, report, scope)
        self._counts = dict.fromkeys(("differing", "bytes", "before", "after", "rewritten"), 0)

    async def run(self, *, dry_run: bool) -> None:
        """Go over everything here, once. StorageFullError where a second copy of one object has no room."""
        self._report.set(**self._counts)
        async for one in self._walk.versions():
            storage_class = one.document.storage_class
            if dry_run and (assigned := today(self._local, one.register, one.document)):
                storage_class = assigned.storage_class
            wanted = self._local.packing(storage_class, one.document.size)
            if not one.document.size or one.document.packing == wanted:
                continue
            try:
                await self._one(one, None if not dry_run else storage_class)
            except CorruptError as error:
                self._walk.damaged(one.register, error)
            await self._walk.pace.rest()
            self._report.set(**self._counts)

    async def _one(self, one: Kept, only_for: str | None) -> None:
        """Rewrite a version, or only tell what would become of it in a class."""
        sight = Sight(self._local)
        try:
            state = await sight.ask(Ask(one.register, one.slot))
            held = sight.held(one.version.to_bytes())
            if held is None or not state.rows:
                return  # deleted or replaced meanwhile
            before = await self._store.look(lambda db: kept.stored(db, held.segments))
            if only_for is None:
                after = await self._rewrite(one.register, state.rows[0], held)
            else:
                after = await self._estimate(held, self._local.level(only_for))
                words = f"{before} bytes here, {one.document.packing or 'not known how'}"
                wanted = self._local.packing(only_for, held.size)
                self._report.found(f"{one.register.path}: {words} -> about {after}, {wanted}")
            if after is not None:
                self._counts["differing"] += 1
                self._counts["bytes"] += held.size
                self._counts["before"] += before
                self._counts["after"] += after
                self._counts["rewritten"] += only_for is None
        except CorruptError as error:
            if state.rows:
                self._own.damaged(one.register, state.rows[0], str(error))
            raise
        finally:
            sight.close()

    async def _estimate(self, held: Held, level: int | None) -> int:
        """About how many bytes it will take, by its first block; of chunks in common nothing is known."""
        sample = b"".join([block async for block in self._store.read(held, 0, min(held.size, BLOCK))])
        frame = await asyncio.to_thread(Compressor(level).compress, sample)
        return held.size if frame is None else held.size * len(frame) // len(sample)

    async def _rewrite(self, register: Register, row: Row, held: Held) -> int | None:
        """Put new bytes in the place of those that are held, in one transaction; None where that was not possible.

        Those are not let go before the new ones were read back and are the same.
        """
        digest = xxh3_128()

        async def passing() -> AsyncIterator[bytes]:
            since = 0
            async for block in self._store.read(held, 0, held.size):
                digest.update(block)
                yield block
                since += len(block)
                if since >= _AT_A_TIME:
                    await self._walk.pace.rest()
                    since = 0

        reservation = self._local.reserve_again(held.size)
        bodies: tuple[NewBody, ...] = ()
        try:
            bodies, _ = await self._local.take(row.document.storage_class, passing(), held.size, _no_seal, anew=True)
            _require_same(await self._digest(bodies, held), digest.digest())
            write = Write(row, bodies, held.parts, self._store.bodies.new_id())
            committing = self._store.commit(lambda tx: steps.heal(tx, register, write, [reservation]))
        except BaseException:
            self._let_go(reservation, bodies)
            raise
        committing.add_done_callback(lambda _: self._let_go(reservation, bodies))
        if (await asyncio.shield(committing)).outcome != Outcome.DONE:
            return None
        return await self._store.look(lambda db: kept.stored(db, _segments(bodies)))

    async def _digest(self, bodies: Sequence[NewBody], held: Held) -> bytes:
        """Of bytes as they are on the disk, or will be with the record."""
        digest = xxh3_128()
        if bodies[0].inline is not None:
            digest.update(inline.decode(bodies[0].id, held.size, bodies[0].inline))
            return digest.digest()
        written = Held(held.version, held.size, LayoutDocument(_segments(bodies)), None, ())
        async for block in self._store.read(written, 0, held.size):
            digest.update(block)
        return digest.digest()

    def _let_go(self, reservation: Reservation, bodies: Sequence[NewBody]) -> None:
        """Give back what the transaction did not take: all, or a chunk that the object has twice."""
        reservation.release()
        self._store.discard(self._store.bodies.untaken(bodies))


def today(local: LocalStore, register: Register, document: RecordDocument) -> Assignment | None:
    """Which class rules would give an object today; None where that is the one it has, or a client asked for its own.

    Of records of before nobody knows who chose: they are taken as chosen by the client, and stay.
    """
    if not document.assigned:
        return None
    assigned = local.today(register.bucket, register.key, document)
    return None if assigned.storage_class == document.storage_class else assigned


def _segments(bodies: Sequence[NewBody]) -> tuple[Segment, ...]:
    return tuple(Segment(Place.FILE if body.inline is None else Place.INLINE, body.id, body.size) for body in bodies)


def _require_same(written: bytes, read: bytes) -> None:
    if written != read:
        raise CorruptError("what was written is not what was read: the bytes stay as they were")


async def _no_seal() -> Sealed:
    """ETag and checksums stay."""
    return Sealed("")
