"""A node as an owner: answers what coordinators ask, from its own store.

`Replica` is the one interface of owners at one epoch; a coordinator holds one for each node and does not care which is
beside it. `LocalReplica` is this node's store as an owner at whatever epoch, called by `routes` for other nodes and
through `OwnReplica` by the coordinator beside it; `peers.RemoteReplica` speaks to another node's.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from xxhash import xxh3_128

from moln_node.cluster.ballots import skewed_wall_ms
from moln_node.cluster.errors import PeerError
from moln_node.cluster.fetches import Fetches
from moln_node.cluster.messages import (
    Ask,
    Collected,
    Enrolled,
    Fingerprints,
    NamedAnswer,
    PartsAnswer,
    PartsAsk,
    Report,
    SlotWrite,
    Staged,
    UsageAnswer,
)
from moln_node.cluster.sight import Sight
from moln_node.store import disks, lookup, naming, registers, scan
from moln_node.store.errors import CorruptError, IndexDamagedError
from moln_node.store.model import Sealed
from moln_node.store.registers import KeyState, Register, Space
from moln_node.store.steps import replica as steps
from moln_node.store.steps.replica import Outcome, Seen, Vote, Write
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    import apsw

    from moln_node.cluster.gate import Gate
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.messages import (
        Accept,
        Collect,
        Enroll,
        FingerprintsAsk,
        Install,
        Named,
        Prepare,
        ReportAsk,
        Scan,
        UsageAsk,
    )
    from moln_node.store.bodies import NewBody
    from moln_node.store.documents import Parts
    from moln_node.store.ledger import Reservation
    from moln_node.store.reading import Held
    from moln_node.store.registers import Row
    from moln_node.store.scan import Page
    from moln_node.store.transaction import Transaction

STAGED_SECONDS: Final = 900.0
_TIDY_SECONDS: Final = 60.0
_BRIEF: Final = 1 << 20
"""Bytes of a body that is sooner fetched again than kept for another try."""
_BARRED_SECONDS: Final = 3600.0
_PROMISES: Final = 1000
_NOTHING_IS_NEWS: Final = b"\xff" * 12


class Replica(Protocol):
    """An owner, asked by the map of one epoch. Every call may raise PeerError."""

    async def ask(self, message: Ask) -> KeyState:
        """What the owner knows of a register."""
        ...

    async def prepare(self, message: Prepare) -> Vote:
        """Promise."""
        ...

    async def accept(self, message: Accept) -> Vote:
        """Accept rows; a DONE survives a power cut."""
        ...

    async def install(self, message: Install) -> Vote:
        """Take rows that a majority holds."""
        ...

    async def stage(self, storage_class: str, size: int, body: AsyncIterator[bytes]) -> Staged:
        """Keep bytes for an accept to come."""
        ...

    async def unstage(self, staged: str) -> None:
        """Forget staged bytes that will not be accepted."""
        ...

    def body(self, register: Register, row: Row, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a version, checked, from `start` up to `end`."""
        ...

    async def collect(self, message: Collect) -> Collected:
        """Drop tombstones that all owners hold."""
        ...

    async def named(self, message: Named) -> NamedAnswer:
        """Which bodies the owner's records name."""
        ...

    async def scan(self, message: Scan) -> Page:
        """A page of the owner's rows."""
        ...

    async def parts(self, message: PartsAsk) -> PartsAnswer:
        """The parts of a version."""
        ...

    async def usage(self, message: UsageAsk) -> UsageAnswer:
        """What the owner holds of a bucket."""
        ...

    async def fingerprints(self, message: FingerprintsAsk) -> Fingerprints:
        """What the owner holds of some registers, in short."""
        ...

    async def enroll(self, message: Enroll) -> Enrolled:
        """Remember by which disk a member is known; the one known before stays unless it is to be replaced."""
        ...

    async def report(self, message: ReportAsk) -> Report:
        """How far the node is with the change of layout under way."""
        ...


@dataclass(slots=True)
class _Waiting:
    """Staged bytes. Whoever makes them a record's holds the lock; those that are `unwanted` go when nobody does.

    Those that are `brief` are for one try.
    """

    id: str
    bodies: tuple[NewBody, ...]
    reservation: Reservation
    expires: float
    unwanted: bool = False
    brief: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class _Taking:
    """What an accept brings to the store: rows, and bytes and room, which are let go where it has no use for them."""

    writes: list[Write] = field(default_factory=list)
    room: list[Reservation] = field(default_factory=list)
    fresh: list[NewBody] = field(default_factory=list)
    staged: list[_Waiting] = field(default_factory=list)


class LocalReplica:
    """This node's store as an owner.

    Attributes:
        store: of this node.
        voting: false while the node refills an empty disk: it has lost what it promised, so it must not be counted.
        floor: it accepts nothing below this ballot.
        collected: nor below this one, the newest of tombstones and promises that were dropped, or of bars to names of
            bodies.
        generation: another one whenever tombstones are dropped: what was seen of this node before may be older.
        strays: tells how many registers are here that others own; None while that is unknown.
        alone: there is no other node that ever has to hear of a deletion, so nothing is kept of one.
        damaged: told of a version whose bytes here are found bad, and why.
        unreadable: told of a register of which a row in the index here can't be read.
        owing: told when this disk owes the other owners something more.
        led: `since` of the stage of a change for which this node has brought everything to its new owners that it is
            the first to bring; 0 before the first.
        gate: calls that decide or answer for the cloud name their epoch here.
    """

    def __init__(self, local: LocalStore, gate: Gate, peer: Callable[[str], Replica]) -> None:
        self._local = local
        self.gate = gate
        self.store = local.store
        self._peer = peer
        self._staged: dict[str, _Waiting] = {}
        self._fetches = Fetches()
        self.damaged: Callable[[Register, Row, str], None] = lambda _register, _row, _why: None
        self.unreadable: Callable[[Register], None] = lambda _register: None
        self.owing: Callable[[], None] = lambda: None
        self.voting = True
        self.floor = registers.NEVER
        self.collected = registers.NEVER
        self.generation = secrets.randbits(48)
        self.strays: Callable[[], Awaitable[int | None]] = _unknown
        self.alone = False
        self.led = 0
        self._barred: dict[str, float] = {}

    async def ask(self, message: Ask, epoch: int, sight: Sight | None = None) -> KeyState:
        """See `Replica.ask`; through a `sight` of a reader beside this node, if it has one."""
        self._require_vote()
        leave = self.gate.enter(epoch)
        try:
            return await (self.state(message) if sight is None else sight.ask(message))
        except CorruptError as error:
            if not isinstance(error, IndexDamagedError):
                self.unreadable(message.register)
            raise
        finally:
            leave()

    async def state(self, message: Ask) -> KeyState:
        """What this disk has of a register, whoever asks and whatever the node counts for."""
        number = self._local.number(message.register)
        if number is None:
            return KeyState()
        key = message.register.key.encode()
        return await self.store.look(lambda db: registers.state(db, number, key, message.slot, message.depth))

    async def prepare(self, message: Prepare, epoch: int) -> Vote:
        """See `Replica.prepare`."""
        self._require_vote()
        leave = self.gate.enter(epoch)
        try:
            return await self.store.commit(
                lambda tx: steps.prepare(
                    tx, message.register, message.ballot, message.slot, message.depth, self._least_ballot
                )
            )
        finally:
            leave()

    async def accept(self, message: Accept, epoch: int, seen: Seen | None = None) -> Vote:
        """See `Replica.accept`; with `seen` only if the register still holds what was seen of it."""
        self._require_vote()
        owed = self.store.bodies.new_id() if message.owed else 0
        vote = await self._carry_out(
            epoch,
            message.register,
            message.writes,
            lambda tx, writes, room: self._unless_barred(
                message.writes,
                lambda: steps.accept(
                    tx,
                    message.register,
                    message.ballot,
                    writes,
                    self._least_ballot,
                    room,
                    seen=seen,
                    alone=self.alone,
                    owed=owed,
                ),
            ),
        )
        if message.owed and vote.outcome == Outcome.DONE:
            self.owing()
        return vote

    async def install(self, message: Install, epoch: int) -> Vote:
        """See `Replica.install`; also while the node does not vote."""
        return await self._take_rows(message, epoch, steps.install)

    async def restore(self, message: Install, epoch: int) -> Vote:
        """Take what the other owners hold of a register in the place of rows that can't be read here."""
        return await self._take_rows(message, epoch, steps.restore)

    async def _take_rows(self, message: Install, epoch: int, step: Callable[..., Vote]) -> Vote:
        """Take rows that a majority holds by `steps.install`, or by `steps.restore`."""
        return await self._carry_out(
            epoch,
            message.register,
            message.writes,
            lambda tx, writes, room: self._unless_barred(
                message.writes,
                lambda: step(
                    tx,
                    message.register,
                    writes,
                    room,
                    buried=registers.NEVER if message.generation == self.generation else self._oldest_news,
                    alone=self.alone,
                ),
            ),
        )

    @property
    def _least_ballot(self) -> bytes:
        """Nothing below is accepted. Looked at within the transaction: dropping tombstones raises it in one."""
        return max(self.floor, self.collected)

    @property
    def _oldest_news(self) -> bytes:
        """What a sender brings who has not heard of the last graves that were dropped is news above this ballot only.

        An empty disk does not know which graves the one before it had dropped.
        """
        return self._least_ballot if self.voting else _NOTHING_IS_NEWS

    async def collect(self, message: Collect, epoch: int) -> Collected:
        """See `Replica.collect`."""
        self._require_vote()
        leave = self.gate.enter(epoch)

        def drop(tx: Transaction) -> Collected:
            self.generation += 1
            dropped = 0
            for key, fingerprint in message.graves:
                register = Register(message.space, key, message.bucket, message.incarnation)
                newest = steps.collect(tx, register, fingerprint)
                dropped += newest != registers.NEVER
                self.collected = max(self.collected, newest)
            disks.keep_collected(tx, self.collected)
            return Collected(dropped)

        committing = self.store.commit(drop)
        committing.add_done_callback(lambda _: leave())
        return await asyncio.shield(committing)

    async def forget_promises(self, before: bytes) -> int:
        """Let the ballot below which nothing is accepted, of any register, stand for promises older than one; how many.

        It is raised to the newest of them in the transaction that drops them, so each is kept as it was.
        """
        forgotten, last = 0, (-1, b"")
        while self.voting:
            page = await self.store.look(lambda db, after=last: registers.promises(db, after, _PROMISES))  # type: ignore[misc]
            if not page:
                break
            last = page[-1][:2]
            old = [promise for promise in page if promise[2] < before]

            def drop(tx: Transaction, old: Sequence[tuple[int, bytes, bytes]] = old) -> None:
                self.collected = max(self.collected, steps.forget_promises(tx, old))
                disks.keep_collected(tx, self.collected)

            if old:
                await self.store.commit(drop)
            forgotten += len(old)
        return forgotten

    async def named(self, message: Named, epoch: int) -> NamedAnswer:
        """See `Replica.named`."""
        self._require_vote()
        leave = self.gate.enter(epoch)

        def bar(tx: Transaction) -> NamedAnswer:
            of = naming.named(tx.db, tx.buckets.get(message.bucket), message.incarnation, message.bodies)
            if not all(of):
                self._bar([body for (_, body, _), named in zip(message.bodies, of, strict=True) if not named])
                self.collected = max(self.collected, message.bar)
                disks.keep_collected(tx, self.collected)
            return NamedAnswer(of)

        if message.bar:
            committing = self.store.commit(bar)
            committing.add_done_callback(lambda _: leave())
            return await asyncio.shield(committing)
        try:
            row = self.store.buckets.get(message.bucket)
            asked = message.incarnation, message.bodies
            return NamedAnswer(await self.store.look(lambda db: naming.named(db, row, *asked)))
        finally:
            leave()

    def _bar(self, bodies: Sequence[str]) -> None:
        """Let no message that is on its way make a record name these. On the writing lane, as whoever asks for it."""
        now = time.monotonic()
        while self._barred and next(iter(self._barred.values())) < now - _BARRED_SECONDS:
            del self._barred[next(iter(self._barred))]
        for body in bodies:
            self._barred.pop(body, None)
            self._barred[body] = now

    def _unless_barred(self, writes: Sequence[SlotWrite], step: Callable[[], Vote]) -> Vote:
        """Do a step, unless a row names a body that is barred here."""
        if any(write.row.document.body in self._barred for write in writes):
            return Vote(Outcome.OLD)
        return step()

    async def heal(self, register: Register, row: Row, source: str) -> bool:
        """Replace the damaged bytes of a version with those of another owner; whether that was done."""
        write = SlotWrite(row, source=source)
        taking = _Taking()
        try:
            bodies = await self._fetch(register, write, taking)
            parts = await self._parts_of(register, write)
            healing = Write(row, bodies, parts, self.store.bodies.new_id())
            committing = self.store.commit(lambda tx: steps.heal(tx, register, healing, taking.room))
        except BaseException:
            self._settle(taking, done=False)
            raise
        committing.add_done_callback(lambda committed: self._settle(taking, done=_is_done(committed)))
        return (await asyncio.shield(committing)).outcome == Outcome.DONE

    async def _carry_out(
        self,
        epoch: int,
        register: Register,
        asked: Sequence[SlotWrite],
        step: Callable[[Transaction, list[Write], list[Reservation]], Vote],
    ) -> Vote:
        """Bring the bytes to this disk, do the step, and let go of what it did not take.

        What comes from other owners may take long, so it comes before the gate: a newer map is obeyed meanwhile, and
        refuses the step then. Once the step is on its way it is done, whoever is cancelled: what becomes of the bytes
        is the step's to say.
        """
        self.gate.enter(epoch)()  # nothing is fetched for who asks by another map
        ready = [await self._fetched(register, write) if write.source else write for write in asked]
        leave = self.gate.enter(epoch)
        taking = _Taking()
        try:
            await self._use(taking, {write.staged for write in ready})
            for write in ready:
                bodies = await self._bytes_of(write, taking)
                layout_id = self.store.bodies.new_id()
                taking.writes.append(Write(write.row, bodies, write.parts, layout_id, write.upload, write.taken))
            room = taking.room + [waiting.reservation for waiting in taking.staged]
            committing = self.store.commit(lambda tx: step(tx, taking.writes, room))
        except BaseException:
            self._settle(taking, done=False)
            leave()
            raise
        committing.add_done_callback(lambda committed: self._settle(taking, done=_is_done(committed)))
        committing.add_done_callback(lambda _: leave())
        return await asyncio.shield(committing)

    async def _fetched(self, register: Register, write: SlotWrite) -> SlotWrite:
        """The write with what its source has: parts, and bytes, staged here unless the version is here already."""
        parts = write.parts or await self._parts_of(register, write)
        here = write.upload is not None or write.inline is not None or bool(write.staged)
        if here or not steps.needs_bytes(write.row) or await self._has(register, write.row):
            return msgspec.structs.replace(write, parts=parts)
        name = repr((register, write.row.version))
        if name not in self._staged:
            await self._fetches.wait(name, lambda: self._fetch_to_stage(name, register, write))
        return msgspec.structs.replace(write, parts=parts, staged=name)

    async def _fetch_to_stage(self, name: str, register: Register, write: SlotWrite) -> None:
        taking = _Taking()
        self._expire()
        try:
            bodies = await self._fetch(register, write, taking)
        except BaseException:
            self._settle(taking, done=False)
            raise
        (reservation,) = taking.room
        brief = write.row.document.size <= _BRIEF
        self._staged[name] = _Waiting(name, bodies, reservation, time.monotonic() + STAGED_SECONDS, brief=brief)

    async def close(self) -> None:
        """Break off what is on its way here; the store stays open."""
        await self._fetches.close()

    async def _use(self, taking: _Taking, ids: set[str]) -> None:
        """Keep staged bytes while an accept makes them a record's: one accept at a time, and nobody drops them."""
        for staged in sorted(ids):
            waiting = self._staged.get(staged)
            if waiting is not None:
                await waiting.lock.acquire()
                taking.staged.append(waiting)

    def _settle(self, taking: _Taking, *, done: bool) -> None:
        """Let go of what the step did not take."""
        for waiting in taking.staged:
            waiting.lock.release()
            waiting.unwanted = waiting.unwanted or done or waiting.brief
            self._drop_unwanted(waiting.id)
        self._release(taking.room, self.store.bodies.untaken(taking.fresh) if done else taking.fresh)

    def _release(self, room: Sequence[Reservation], bodies: Sequence[NewBody]) -> None:
        for reservation in room:
            reservation.release()
        self.store.discard(bodies)

    async def _bytes_of(self, write: SlotWrite, taking: _Taking) -> tuple[NewBody, ...] | None:
        """The bodies of a row, safe on this disk or with the row; None where they can't be had."""
        size = write.row.document.size
        if not steps.needs_bytes(write.row) or write.upload is not None:
            return ()
        if write.inline is not None:
            taking.room.append(self._local.reserve(size))
            bodies, _ = await self._local.take(write.row.document.storage_class, _once(write.inline), size, _no_seal)
            taking.fresh.extend(body for body in bodies if body.inline is None)
            return bodies
        if write.staged:
            waiting = self._staged.get(write.staged)
            if waiting is None:
                return None
            waiting.expires = time.monotonic() + STAGED_SECONDS
            return waiting.bodies
        return None

    async def _parts_of(self, register: Register, write: SlotWrite) -> Parts:
        """What a version was uploaded as, from the owner that its bytes come from."""
        if not (write.source and write.row.document.upload):
            return ()
        return (await self._peer(write.source).parts(PartsAsk(register, write.row.version))).parts or ()

    async def _has(self, register: Register, row: Row) -> bool:
        """Whether this version is here, and can be read."""
        number = self._local.number(register)
        if number is None:
            return False
        key = register.key.encode()
        version = Version.from_bytes(row.version)
        try:
            return await self.store.look(lambda db: lookup.at(db, number, key, version)) is not None
        except CorruptError:
            return False

    async def _fetch(self, register: Register, write: SlotWrite, taking: _Taking) -> tuple[NewBody, ...]:
        """The bytes of a version from an owner that has them."""
        size = write.row.document.size
        taking.room.append(self._local.reserve(size))
        async with aclosing(self._peer(write.source).body(register, write.row, 0, size)) as body:
            bodies, _ = await self._local.take(write.row.document.storage_class, body, size, _no_seal)
        taking.fresh.extend(body for body in bodies if body.inline is None)
        return bodies

    async def stage(self, storage_class: str, size: int, body: AsyncIterator[bytes]) -> Staged:
        """See `Replica.stage`."""
        digest = xxh3_128()

        async def passing() -> AsyncIterator[bytes]:
            async for piece in body:
                digest.update(piece)
                yield piece

        self._expire()
        reservation = self._local.reserve(size)
        staged, _ = await self._keep(reservation, storage_class, passing(), size, _no_seal, small=False)
        return Staged(staged, digest.digest())

    async def take_in(
        self,
        register: Register,
        storage_class: str,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        *,
        small: bool,
    ) -> tuple[str, Sealed]:
        """As `stage`, for the coordinator beside a register's only owner: the staging id, and the seal of the body.

        In a cloud of one node the bucket's quota holds to the byte. `small` allows a small body to go with the record.
        """
        self._expire()
        reservation = self._local.reserve(size, self.store.buckets.get(register.bucket) if self.alone else None)
        return await self._keep(reservation, storage_class, body, size, seal, small=small)

    async def _keep(
        self,
        reservation: Reservation,
        storage_class: str,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        *,
        small: bool,
    ) -> tuple[str, Sealed]:
        """Take a body in, to wait for its accept."""
        try:
            bodies, sealed = await self._local.take(storage_class, body, size, seal, small=small)
        except BaseException:
            reservation.release()
            raise
        staged = secrets.token_hex(16)
        self._staged[staged] = _Waiting(staged, bodies, reservation, time.monotonic() + STAGED_SECONDS)
        return staged, sealed

    async def unstage(self, staged: str) -> None:
        """See `Replica.unstage`."""
        waiting = self._staged.get(staged)
        if waiting is not None:
            waiting.unwanted = True
            self._drop_unwanted(staged)

    def _drop_unwanted(self, staged: str) -> None:
        """Let staged bytes go that nobody wants or that are a record's now, unless an accept is at work on them."""
        waiting = self._staged.get(staged)
        if waiting is not None and waiting.unwanted and not waiting.lock.locked():
            del self._staged[staged]
            self._release([waiting.reservation], self.store.bodies.untaken(waiting.bodies))

    async def tidy(self) -> None:
        """Let go, from time to time, of staged bytes that nobody accepted: others want their room."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            self._expire()

    def _expire(self) -> None:
        """Let go of what nobody accepted in time."""
        now = time.monotonic()
        for staged, waiting in list(self._staged.items()):
            if waiting.expires < now:
                waiting.unwanted = True
                self._drop_unwanted(staged)

    async def body(self, register: Register, row: Row, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """See `Replica.body`."""
        sight = Sight(self._local)
        try:
            held = await self._find(sight, register, row)
            if held is None:
                raise PeerError("this version is not here", sent=False)
            async for block in self.store.read(held, start, end):
                yield block
        except CorruptError as error:
            self.damaged(register, row, str(error))
            raise PeerError("this copy is damaged", sent=False) from error
        finally:
            sight.close()

    async def damaged_among(self, versions: Sequence[tuple[Register, Row]]) -> list[tuple[Register, Row]]:
        """Those of these versions that are here, and not as they were written: every byte of them is read."""
        damaged: list[tuple[Register, Row]] = []
        large: list[tuple[Register, Row]] = []

        def look(db: apsw.Connection) -> None:
            for one in versions:
                register, row = one
                number = self._local.number(register)
                key, version = register.key.encode(), Version.from_bytes(row.version)
                found = None if number is None else lookup.at(db, number, key, version)
                if number is None or found is None or not steps.needs_bytes(row):
                    continue
                try:
                    held = self.store.hold(db, number, key, found)
                except (CorruptError, OSError):
                    damaged.append(one)
                else:
                    if held is not None:
                        self.store.release(held)
                        large.extend([one] if held.data is None else [])

        await self.store.look(look)
        return damaged + [one for one in large if not await self._is_whole(*one)]

    async def _is_whole(self, register: Register, row: Row) -> bool:
        sight = Sight(self._local)
        try:
            held = await self._find(sight, register, row)
            if held is not None:
                async for _ in self.store.read(held, 0, held.size):
                    pass
        except (CorruptError, OSError):
            return False
        finally:
            sight.close()
        return True

    @staticmethod
    async def _find(sight: Sight, register: Register, row: Row) -> Held | None:
        """The bytes of a version, also of one that is only owed any more."""
        await sight.ask(Ask(register, row.slot))
        held = sight.held(row.version)
        if held is None and register.space == Space.OBJECTS:
            await sight.ask(Ask(msgspec.structs.replace(register, space=Space.OWED), row.slot))
            held = sight.held(row.version)
        return held

    def sight(self) -> Sight:
        """What a reader beside this node asks in place of `ask`, to find bytes and hold them at once."""
        return Sight(self._local)

    async def scan(self, message: Scan, epoch: int) -> Page:
        """See `Replica.scan`."""
        self._require_vote()
        leave = self.gate.enter(epoch)
        try:
            return await self.page(message)
        finally:
            leave()

    async def page(self, message: Scan) -> Page:
        """A page of what this disk has, whoever asks and whatever the node counts for."""
        number = 0 if message.space == Space.BUCKETS else self._of_bucket(message)
        if number is None:
            return scan.Page((), None)
        found = await self.store.look(lambda db: scan.scan(db, number, message.query))
        for key in found.unreadable:
            self.unreadable(Register(message.space, key.decode(), message.bucket, message.incarnation))
        if found.unreadable and not message.query.tolerant:
            raise CorruptError(f"rows of {len(found.unreadable)} keys can't be read in the index of this node")
        return found

    def _of_bucket(self, message: Scan) -> int | None:
        row = self.store.buckets.get(message.bucket)
        if row is None or row.incarnation != message.incarnation:
            return None
        return registers.number(message.space, row.id)

    async def parts(self, message: PartsAsk) -> PartsAnswer:
        """See `Replica.parts`."""
        number = self._local.number(message.register)
        if number is None:
            return PartsAnswer(None)
        key = message.register.key.encode()
        version = Version.from_bytes(message.version)

        def query(db: apsw.Connection) -> PartsAnswer:
            found = lookup.at(db, number, key, version)
            return PartsAnswer(None if found is None else registers.parts_of(db, found[1]))

        return await self.store.look(query)

    async def usage(self, message: UsageAsk) -> UsageAnswer:
        """See `Replica.usage`."""
        row = self.store.buckets.get(message.bucket)
        if row is None or row.incarnation != message.incarnation:
            return UsageAnswer(0, 0)
        held = self.store.ledger.bucket_usage(row.id)
        return UsageAnswer(held.objects, held.bytes)

    async def fingerprints(self, message: FingerprintsAsk) -> Fingerprints:
        """See `Replica.fingerprints`."""
        number = self._local.number(Register(message.space, "", message.bucket, message.incarnation))
        if number is None:
            return Fingerprints((0,) * len(message.keys))
        keys = [key.encode() for key in message.keys]
        of: list[int] = []
        while len(of) < len(keys):  # in turns: readers wait for the same lanes, and perhaps nobody for this any more
            left = keys[len(of) :]
            of += await self.store.look(lambda db, left=left: registers.fingerprints(db, number, left))  # type: ignore[misc]
        return Fingerprints(tuple(of))

    async def enroll(self, message: Enroll) -> Enrolled:
        """See `Replica.enroll`; also while the node does not vote."""
        return await self.store.commit(lambda tx: _enroll(tx, message))

    async def report(self, _: ReportAsk) -> Report:
        """See `Replica.report`."""
        strays = await self.strays() if self.voting else None
        return Report(self.gate.obeyed, self.led, -1 if strays is None else strays, self.generation, skewed_wall_ms())

    def _require_vote(self) -> None:
        if not self.voting:
            raise PeerError("this node refills an empty disk and does not vote yet", sent=False)


class OwnReplica:
    """This node as an owner at one epoch, for the coordinator beside it; see `Replica`."""

    def __init__(self, local: LocalReplica, epoch: int) -> None:
        self._local = local
        self._epoch = epoch
        self.stage = local.stage
        self.take_in = local.take_in
        self.unstage = local.unstage
        self.body = local.body
        self.parts = local.parts
        self.usage = local.usage
        self.fingerprints = local.fingerprints
        self.enroll = local.enroll
        self.report = local.report

    async def ask(self, message: Ask, sight: Sight | None = None) -> KeyState:
        """See `LocalReplica.ask`."""
        return await self._local.ask(message, self._epoch, sight)

    async def prepare(self, message: Prepare) -> Vote:
        """See `Replica.prepare`."""
        return await self._local.prepare(message, self._epoch)

    async def accept(self, message: Accept, seen: Seen | None = None) -> Vote:
        """See `LocalReplica.accept`."""
        return await self._local.accept(message, self._epoch, seen)

    async def install(self, message: Install) -> Vote:
        """See `Replica.install`."""
        return await self._local.install(message, self._epoch)

    async def collect(self, message: Collect) -> Collected:
        """See `Replica.collect`."""
        return await self._local.collect(message, self._epoch)

    async def named(self, message: Named) -> NamedAnswer:
        """See `Replica.named`."""
        return await self._local.named(message, self._epoch)

    async def scan(self, message: Scan) -> Page:
        """See `Replica.scan`."""
        return await self._local.scan(message, self._epoch)


def _is_done(committed: asyncio.Future[Vote]) -> bool:
    return not committed.cancelled() and committed.exception() is None and committed.result().outcome == Outcome.DONE


def _enroll(tx: Transaction, message: Enroll) -> Enrolled:
    disk = disks.known(tx.db, message.number)
    if message.replace or not disk:
        disk = message.disk
        disks.remember(tx, message.number, disk)
    return Enrolled(disk, registers.NEVER if tx.clock.newest is None else tx.clock.newest.to_bytes())


async def _unknown() -> None:
    """How many strays there are, before somebody knows."""


async def _no_seal() -> Sealed:
    """The coordinator has sealed the body, or will."""
    return Sealed("")


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
