"""What some owner has missed: a durable list of registers to look after, and the work that does it.

A hint names a register and nothing else; whoever carries it out compares all owners and installs what one lacks, so a
hint that is late, doubled or already done does no harm.

New hints are carried out soon. What could not be done waits on the disk and is gone through in turn, a page at a time:
quickly as long as that helps anybody, else a page from time to time, each time the next one. So an owner that is away
keeps no other waiting, and costs little until it is back.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from moln_node.cluster.errors import PeerError
from moln_node.cluster.silence import Silence
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import Register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import apsw

    from moln_node.store.store import Store
    from moln_node.store.transaction import Transaction

_FLUSH_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 2.0
_BATCH: Final = 64
_AT_ONCE: Final = 4
_MOST_FRESH: Final = 1024
_DECODER: Final = msgspec.msgpack.Decoder(Register)
_log = logging.getLogger(__name__)


class Hints:
    """The registers of which an owner may lack what was decided.

    `repair` says whether every owner of a register has all of it now, and tells of who gave no answer.
    """

    def __init__(self, store: Store, repair: Callable[[Register, Silence], Awaitable[bool]]) -> None:
        self._store = store
        self._repair = repair
        self._silence = Silence()
        self._new: set[bytes] = set()
        self._wake = asyncio.Event()
        self._fresh: deque[bytes] = deque(maxlen=_MOST_FRESH)  # what falls out of it is on the disk
        self._trying: set[bytes] = set()
        self._position = b""
        self._helping = True
        self._due = 0.0
        self._news = asyncio.Event()

    def add(self, register: Register) -> None:
        """Remember a register; it is on the disk a moment later."""
        self._new.add(msgspec.msgpack.encode(register))
        self._wake.set()

    def wake(self) -> None:
        """A hint was kept by somebody else: look."""
        self._look_within(_RETRY_SECONDS)

    async def count(self) -> int:
        """How many registers wait."""
        kept = await self._store.look(lambda db: int(db.execute("SELECT count(*) FROM hint").fetchone()[0]))  # type: ignore[index]
        return kept + len(self._new)

    async def run(self) -> None:
        """Keep hints and carry them out, until cancelled."""
        self._position, self._helping, self._due = b"", True, 0.0
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_all(), name="moln-hints-keep")
            tasks.create_task(self._carry_out_all(), name="moln-hints-carry-out")

    async def _keep_all(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_FLUSH_SECONDS)
            self._wake.clear()
            try:
                self._fresh.extend(await self._flush())
                self._look_within(_RETRY_SECONDS)
            except ClosedError:
                return
            except StoreError:
                _log.exception("hints can't be kept now")
                await asyncio.sleep(_RETRY_SECONDS)
                self._wake.set()

    async def _flush(self) -> list[bytes]:
        new = list(self._new)

        def keep(tx: Transaction) -> None:
            tx.db.executemany("INSERT OR IGNORE INTO hint VALUES (?)", [(hint,) for hint in new])

        self._trying.difference_update(new)  # what is being done does not count for what was missed since
        await self._store.commit(keep)
        self._new.difference_update(new)
        return new

    async def _carry_out_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._carry_out_fresh()
                if self._due <= loop.time():
                    self._due = math.inf
                    self._look_within(await self._carry_out_page())
            except ClosedError:
                return
            except StoreError:
                _log.exception("hints can't be read or dropped now")
                self._look_within(_RETRY_SECONDS)
            if not self._fresh:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(None if self._due == math.inf else self._due):
                        await self._news.wait()
            self._news.clear()

    def _look_within(self, seconds: float) -> None:
        """Try the next page of what waits, not later than that."""
        self._due = min(self._due, asyncio.get_running_loop().time() + seconds)
        self._news.set()

    async def _carry_out_fresh(self) -> None:
        fresh = [self._fresh.popleft() for _ in range(min(len(self._fresh), _BATCH))]
        if await self._carry_out(fresh) < len(fresh):
            self._look_within(_RETRY_SECONDS)

    async def _carry_out_page(self) -> float:
        """Try the next page of what waits; in how many seconds the one after it is due."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        page = await self._store.look(lambda db: _page(db, self._position))
        if not page and not self._position:
            return math.inf
        ended = self._silence.ended
        helped = await self._carry_out(page) > 0 or self._silence.ended > ended
        last = len(page) < _BATCH
        self._position = b"" if last else page[-1]
        self._helping = helped or (self._helping and not last)
        return loop.time() - begun if self._helping else _RETRY_SECONDS  # half of the time is clients'

    async def _carry_out(self, hints: list[bytes]) -> int:
        """Try each of these hints, and drop those that are done; how many."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def carry_out(hint: bytes) -> bool:
            async with limit:
                try:
                    return await self._repair(_DECODER.decode(hint), self._silence)
                except (PeerError, StoreError):
                    return False

        self._trying.update(hints)
        try:
            tried = await asyncio.gather(*map(carry_out, hints))
            done = [hint for hint, is_done in zip(hints, tried, strict=True) if is_done and hint in self._trying]
            if done:
                await self._store.commit(lambda tx: _drop(tx, done))
            return len(done)
        finally:
            self._trying.difference_update(hints)


def _page(db: apsw.Connection, after: bytes) -> list[bytes]:
    rows = db.execute("SELECT register FROM hint WHERE register > ? ORDER BY register LIMIT ?", (after, _BATCH))
    return [bytes(row[0]) for row in rows]


def _drop(tx: Transaction, done: list[bytes]) -> None:
    tx.db.executemany("DELETE FROM hint WHERE register = ?", [(hint,) for hint in done])
