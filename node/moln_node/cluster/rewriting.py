"""Rewriting: the bytes on this disk are packed as their class says today, where a person asks for it.

It may be asked for again at any time, and then does what is left; no other node hears of it. Which class that is, and
where its bytes live, `reassigning` sees to first. Called by `maintenance`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from xxhash import xxh3_128

from moln_node.cluster.messages import Ask
from moln_node.cluster.reassigning import today
from moln_node.cluster.sight import Sight
from moln_node.cluster.walking import Walk
from moln_node.store import inline, kept
from moln_node.store.bodyfile import BLOCK
from moln_node.store.codec import Compressor
from moln_node.store.documents import LayoutDocument, Place, Segment
from moln_node.store.errors import CorruptError
from moln_node.store.model import Sealed
from moln_node.store.reading import Held
from moln_node.store.registers import Register, Space
from moln_node.store.steps import replica as steps
from moln_node.store.steps.replica import Outcome, Write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.walking import Kept, Scope
    from moln_node.store.bodies import NewBody
    from moln_node.store.ledger import Reservation
    from moln_node.store.registers import Row
    from moln_node.store.report import Report

_AT_A_TIME: Final = 1024 * 1024
"""Bytes after which it rests."""


class Rewriting:
    """Packs the bytes on this disk as their classes say today; see `maintenance.rewrite`."""

    def __init__(self, local: LocalStore, cluster: Cluster, report: Report, scope: Scope) -> None:
        self._local = local
        self._store = local.store
        self._own = cluster.members.own
        self._report = report
        self._walk = Walk(local, report, scope, (Space.OBJECTS, Space.BODIES))
        self._counts = dict.fromkeys(("differing", "bytes", "before", "after", "rewritten"), 0)

    async def run(self, *, dry_run: bool) -> None:
        """Go over everything here, once. StorageFullError where a second copy of one object has no room."""
        self._report.set(**self._counts)
        async for one in self._walk.versions():
            if one.document.body:
                continue
            storage_class = one.document.storage_class
            if dry_run and one.register.space == Space.OBJECTS:
                target = today(self._local, one.register, one.document)
                storage_class = target.storage_class if target else storage_class
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


def _segments(bodies: Sequence[NewBody]) -> tuple[Segment, ...]:
    return tuple(Segment(Place.FILE if body.inline is None else Place.INLINE, body.id, body.size) for body in bodies)


def _require_same(written: bytes, read: bytes) -> None:
    if written != read:
        raise CorruptError("what was written is not what was read: the bytes stay as they were")


async def _no_seal() -> Sealed:
    """ETag and checksums stay."""
    return Sealed("")
