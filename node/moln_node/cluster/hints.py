"""What some owner has missed: a durable list of registers to look after, and the work that does it.

A hint names a register and nothing else; whoever carries it out compares all owners and installs what one lacks, so a
hint that is late, doubled or already done does no harm. One task for each node.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from moln_node.cluster.errors import PeerError
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
_DECODER: Final = msgspec.msgpack.Decoder(Register)
_log = logging.getLogger(__name__)


class Hints:
    """The registers of which an owner may lack what was decided."""

    def __init__(self, store: Store, repair: Callable[[Register], Awaitable[bool]]) -> None:
        self._store = store
        self._repair = repair
        self._new: set[bytes] = set()
        self._wake = asyncio.Event()

    def add(self, register: Register) -> None:
        """Remember a register; it is on the disk a moment later."""
        self._new.add(msgspec.msgpack.encode(register))
        self._wake.set()

    def wake(self) -> None:
        """A hint was kept by somebody else: look."""
        self._wake.set()

    async def count(self) -> int:
        """How many registers wait."""
        kept = await self._store.look(lambda db: int(db.execute("SELECT count(*) FROM hint").fetchone()[0]))  # type: ignore[index]
        return kept + len(self._new)

    async def run(self) -> None:
        """Carry out hints until cancelled: new ones soon, those that could not be done again and again."""
        while True:
            try:
                await self._flush()
                left = await self._round()
            except ClosedError:
                return
            except StoreError:
                _log.exception("hints can't be kept or read now")
                left = True
            timeout = _RETRY_SECONDS if left else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_FLUSH_SECONDS)
            self._wake.clear()

    async def _flush(self) -> None:
        if not self._new:
            return
        new = list(self._new)

        def keep(tx: Transaction) -> None:
            tx.db.executemany("INSERT OR IGNORE INTO hint VALUES (?)", [(hint,) for hint in new])

        await self._store.commit(keep)
        self._new.difference_update(new)

    async def _round(self) -> bool:
        """Try every hint once; whether any is left."""
        limit = asyncio.Semaphore(_AT_ONCE)
        position = b""
        left = False

        async def carry_out(hint: bytes) -> bytes | None:
            async with limit:
                try:
                    return hint if await self._repair(_DECODER.decode(hint)) else None
                except (PeerError, StoreError):
                    return None

        while batch := await self._store.look(lambda db, after=position: _page(db, after)):  # type: ignore[misc]
            position = batch[-1]
            done = [hint for hint in await asyncio.gather(*map(carry_out, batch)) if hint is not None]
            left = left or len(done) < len(batch)
            if done:
                await self._store.commit(lambda tx, done=done: _drop(tx, done))  # type: ignore[misc]
            else:
                return True  # nobody to help now
        return left


def _page(db: apsw.Connection, after: bytes) -> list[bytes]:
    rows = db.execute("SELECT register FROM hint WHERE register > ? ORDER BY register LIMIT ?", (after, _BATCH))
    return [bytes(row[0]) for row in rows]


def _drop(tx: Transaction, done: list[bytes]) -> None:
    tx.db.executemany("DELETE FROM hint WHERE register = ?", [(hint,) for hint in done])
