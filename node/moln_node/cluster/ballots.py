"""The coordinator's clock: ballots that are never given out twice, whatever the wall clock does and whoever dies.

A hybrid logical clock. Before it gives out a ballot, the index has kept a bound above it, so that a node that comes
back with its clock set back begins above all that it gave out before. The bound is never far ahead, and who starts
waits until its wall clock is past it: versions that ran ahead would win over later ones where a single owner
acknowledges (`write: one`). Used on the event loop.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from moln_node.store.clock import wall_ms
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from moln_node.store.store import Store
    from moln_node.store.transaction import Transaction

_NAME: Final = "ballots"
_LEASE_MS: Final = 1_000
_STAMP_BITS: Final = 16
SKEW_VARIABLE: Final = "MOLN_TEST_CLOCK_SKEW_MS"
"""For tests only: what is added to the physical clock of ballots, in milliseconds."""


def skewed_wall_ms() -> int:
    """The wall clock, put wrong as far as a test asks for."""
    return wall_ms() + int(os.environ.get(SKEW_VARIABLE, "0"))


class BallotClock:
    """Gives out this node's ballots. Made by `start`."""

    def __init__(self, store: Store, node: int, kept: Version | None, physical_ms: Callable[[], int]) -> None:
        self._store = store
        self._node = node
        self._newest = kept
        self._bound = -1 if kept is None else kept.stamp
        self._physical = physical_ms
        self._extending = asyncio.Lock()

    @classmethod
    async def start(cls, store: Store, node: int, physical_ms: Callable[[], int] = skewed_wall_ms) -> BallotClock:
        """The clock of the node of that number, above all that it gave out before."""
        kept = await store.look(_kept)
        if kept is not None:
            ahead_ms = (kept.stamp >> _STAMP_BITS) + 1 - physical_ms()
            if 0 < ahead_ms <= _LEASE_MS:  # more: the clock was set back, and who knows for how long
                await asyncio.sleep(ahead_ms / 1000)
        return cls(store, node, kept, physical_ms)

    async def next(self) -> bytes:
        """A ballot newer than any given out or seen here."""
        version = Version.after(self._newest, self._physical(), self._node)
        if version.stamp > self._bound:
            async with self._extending:
                version = Version.after(self._newest, self._physical(), self._node)
                if version.stamp > self._bound:
                    bound = Version(version.stamp + (_LEASE_MS << _STAMP_BITS), self._node)
                    await self._store.commit(lambda tx: _keep(tx, bound))
                    self._bound = bound.stamp
            version = Version.after(self._newest, self._physical(), self._node)
        self._newest = version
        return version.to_bytes()

    def saw(self, ballot: bytes) -> None:
        """Stay above a ballot that another node gave out."""
        if ballot:
            version = Version.from_bytes(ballot)
            if self._newest is None or version > self._newest:
                self._newest = version


def _kept(db: apsw.Connection) -> Version | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (_NAME,)).fetchone()
    return None if row is None else Version.from_bytes(row[0])


def _keep(tx: Transaction, bound: Version) -> None:
    tx.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_NAME, bound.to_bytes()))
