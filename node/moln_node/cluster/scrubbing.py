"""Scrubbing: every node reads back all of its disk by itself, again and again, so that no copy rots unseen.

A *round* reads every byte once, deep (`store.scrub`), at a pace that spreads it over the days that are set: so slow
that clients don't feel it. What is bad is healed at once from another owner. How far the round is, and what the last
full scrub found, are kept in the index, so that a node that starts again goes on where it was. Rounds of different
nodes begin at random moments. A scrub that a person asks for (`now`) goes as fast as it can, and the round rests
meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

import msgspec

from moln_node.store import registers
from moln_node.store.clock import wall_ms
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import Register
from moln_node.store.scrub import Counts, Course, Mark

if TYPE_CHECKING:
    import apsw

    from moln_node.cluster.repair import Repair
    from moln_node.store.documents import RecordDocument
    from moln_node.store.report import Report
    from moln_node.store.scrub import Mode
    from moln_node.store.store import Store
    from moln_node.store.transaction import Transaction
    from moln_spec.version import Version

DAYS: Final = 14.0
SLOWEST: Final = 1024 * 1024
"""Bytes a second at least: a small disk is done sooner, and rests."""
FASTEST: Final = 32 * 1024 * 1024
"""Bytes a second at most, for the sake of clients: a disk that holds more than that allows takes longer."""
EACH: Final = 64 * 1024
"""What a record or a body counts for besides its bytes: many small things are work too."""
_DAY_MS: Final = 24 * 3600 * 1000
_FIRST_SHARE: Final = 0.1
"""The first round begins within this share of the days."""
_SPREAD: Final = 0.8
"""A round is to take this share of the days, and the next one begins between there and the days' end."""
_LONGEST_WAIT_SECONDS: Final = 60.0
_KEEP_SECONDS: Final = 60.0
_NAME: Final = "scrub"
_log = logging.getLogger(__name__)


class State(msgspec.Struct):
    """What a node knows of its scrubs; kept in the index.

    Attributes:
        due_ms: when the next round begins, in milliseconds since 1970.
        begun_ms: when the round under way began; None where none is.
        mark: how far that is.
        ended_ms: when the last full scrub ended; None before the first.
        last: what it found.
        unhealed_since: the most that a scrub since then, full or not, could not heal so far.
    """

    due_ms: int
    begun_ms: int | None = None
    mark: Mark = Mark()
    ended_ms: int | None = None
    last: Counts = Counts()
    unhealed_since: int = 0

    @property
    def unhealed(self) -> int:
        """Damaged things that the last full scrub, or one since, found and could not heal."""
        return max(self.last.unhealed, self.unhealed_since)


class Scrubbing:
    """The scrubs of one node. Made by `Cluster`; `begin` comes before all else.

    Attributes:
        state: what is known of them.
    """

    state: State

    def __init__(self, store: Store, repair: Repair, days: float) -> None:
        self._store = store
        self._repair = repair
        self._days_ms = days * _DAY_MS
        self._asked = 0
        self._free = asyncio.Event()
        self._free.set()
        self._keep_again = 0.0

    async def begin(self) -> None:
        """Take up what is kept; on a disk that was never scrubbed, choose the moment of the first round."""
        kept = await self._store.look(_kept)
        if kept is None:
            self.state = State(due_ms=wall_ms() + round(self._days_ms * random.uniform(0, _FIRST_SHARE)))  # noqa: S311
            await self._keep()
        else:
            self.state = kept

    async def run(self) -> None:
        """Scrub round after round until cancelled; returns where the node is not to do so by itself."""
        while self._days_ms:
            await self._free.wait()
            wait = (self.state.due_ms - wall_ms()) / 1000
            if self.state.begun_ms is None and wait > 0:
                await asyncio.sleep(min(wait, _LONGEST_WAIT_SECONDS))
                continue
            try:
                await self._round()
            except _OvertakenError:
                continue
            except ClosedError:
                return
            except StoreError as error:
                _log.warning("the scrub stopped, and goes on later: %s", error)
                await asyncio.sleep(_LONGEST_WAIT_SECONDS)

    async def now(self, report: Report, mode: Mode, sample_percent: float) -> None:
        """A scrub from the beginning, at once. A deep one is full: it takes the place of the round under way."""
        self._asked += 1
        self._free.clear()
        begun = wall_ms()
        course = _Asked(self)
        try:
            await self._store.scrub(report, mode, sample_percent, self._mend, course)
            if mode == "deep":
                await self._ended(begun, course.mark.counts)
        finally:
            self._asked -= 1
            if not self._asked:
                self._free.set()

    async def _round(self) -> None:
        """Begin a round, or go on with the one under way, to its end."""
        if self.state.begun_ms is None:
            self.state.begun_ms, self.state.mark = wall_ms(), Mark()
            await self._keep()
        begun = self.state.begun_ms
        await self._store.scrub(_Logged(), "deep", 100, self._mend, _Round(self, begun, self._pace()))
        await self._ended(begun, self.state.mark.counts)
        counts = self.state.last
        _log.info(
            "scrubbed: %d records, %d bodies, %d bytes; %d bad, %d healed",
            counts.records,
            counts.bodies,
            counts.bytes,
            counts.bad,
            counts.healed,
        )

    def _pace(self) -> float:
        """Bytes a second, each thing counting for some more."""
        held = self._store.ledger.usage()
        return pace(held.bytes, held.objects, self._days_ms / 1000)

    async def turn(self, begun_ms: int) -> None:
        """Wait until nobody's own scrub runs; _OvertakenError where it did what this round would."""
        await self._free.wait()
        if self.state.begun_ms != begun_ms:
            raise _OvertakenError

    async def told(self, mark: Mark, *, of_round: bool) -> None:
        """A scrub is so far: kept at once where it found something, else now and then."""
        bad = mark.counts.bad
        news = mark.counts.unhealed > self.state.unhealed_since or (of_round and bad > self.state.mark.counts.bad)
        self.state.unhealed_since = max(self.state.unhealed_since, mark.counts.unhealed)
        if of_round:
            self.state.mark = mark
        if news or (of_round and asyncio.get_running_loop().time() >= self._keep_again):
            await self._keep()

    async def _ended(self, begun_ms: int, counts: Counts) -> None:
        """A full scrub came to its end."""
        now = wall_ms()
        next_ms = begun_ms + round(self._days_ms * random.uniform(_SPREAD, 1))  # noqa: S311 (no secret)
        self.state = State(due_ms=max(now, next_ms), ended_ms=now, last=counts)
        await self._keep()

    async def _keep(self) -> None:
        self._keep_again = asyncio.get_running_loop().time() + _KEEP_SECONDS
        document = msgspec.json.encode(self.state)
        await self._store.commit(lambda tx: _keep(tx, document))

    async def _mend(self, number: int, key: bytes, version: Version, document: RecordDocument) -> bool:
        register = self._register(number, key.decode())
        return register is not None and await self._repair.mend(register, registers.wire_row(version, document))

    def _register(self, number: int, key: str) -> Register | None:
        """The register whose rows carry that number; None for a bucket's own, or where the bucket is gone."""
        for row in self._store.buckets.values():
            for space in registers.IN_BUCKETS:
                if registers.number(space, row.id) == number:
                    return Register(space, key, row.bucket.name, row.incarnation)
        return None


class _Asked(Course):
    """As fast as it can; what it can't heal is known while it runs."""

    def __init__(self, scrubbing: Scrubbing) -> None:
        super().__init__()
        self._scrubbing = scrubbing

    async def reached(self, mark: Mark) -> None:
        self.mark = mark
        await self._scrubbing.told(mark, of_round=False)


class _Round(Course):
    """From where the round is, at its pace."""

    def __init__(self, scrubbing: Scrubbing, begun_ms: int, pace: float) -> None:
        super().__init__(scrubbing.state.mark)
        self._scrubbing = scrubbing
        self._begun_ms = begun_ms
        self._pace = pace
        self._next = 0.0

    async def spent(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        self._next = max(self._next, loop.time()) + (size + EACH) / self._pace
        await asyncio.sleep(self._next - loop.time())
        await self._scrubbing.turn(self._begun_ms)

    async def reached(self, mark: Mark) -> None:
        await self._scrubbing.turn(self._begun_ms)
        await self._scrubbing.told(mark, of_round=True)


class _Logged:
    """What a round finds is told in the log."""

    def set(self, **counts: int) -> None:
        """The marks have it."""

    def found(self, finding: str) -> None:
        _log.error("scrub: %s", finding)


class _OvertakenError(Exception):
    """A full scrub that a person asked for ended meanwhile."""


def pace(size: int, things: int, seconds: float) -> float:
    """Bytes a second at which so many bytes in so many things are read within that time, between the bounds."""
    return min(max((size + things * EACH) / (_SPREAD * seconds), SLOWEST), FASTEST)


def _kept(db: apsw.Connection) -> State | None:
    """What is kept; None where nothing is, or by a release that kept it otherwise."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (_NAME,)).fetchone()
    if row is None:
        return None
    try:
        return msgspec.json.decode(row[0], type=State)
    except msgspec.DecodeError:
        return None


def _keep(tx: Transaction, document: bytes) -> None:
    tx.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_NAME, document))
