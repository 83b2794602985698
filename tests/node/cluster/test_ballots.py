"""The clock that gives out versions, over restarts: never twice the same, and never far ahead of the wall clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from moln_node.cluster.ballots import BallotClock
from moln_node.store.clock import wall_ms
from moln_node.store.store import Store
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def opened(data: Path, set_back_ms: int = 0) -> AsyncIterator[BallotClock]:
    """The clock of the node whose disk this is, after its start."""
    async with closing(await Store.open(data, 1)) as store:
        yield await BallotClock.start(store, 1, lambda: wall_ms() - set_back_ms)


@asynccontextmanager
async def closing(store: Store) -> AsyncIterator[Store]:
    """The store, closed at the end."""
    try:
        yield store
    finally:
        await store.close()


async def ahead_ms(clock: BallotClock) -> int:
    """How far ahead of the wall clock its next version is."""
    return (Version.from_bytes(await clock.next()).stamp >> 16) - wall_ms()


async def test_a_restart_does_not_put_the_clock_forward(tmp_path: Path) -> None:
    """Else what the node writes would, for a while, win over what others write later."""
    for _ in range(3):
        async with opened(tmp_path) as clock:
            assert await ahead_ms(clock) <= 1
            last = await clock.next()
    async with opened(tmp_path) as clock:
        assert await clock.next() > last
        assert await ahead_ms(clock) <= 1


async def test_a_clock_that_was_set_back_gives_out_nothing_twice(tmp_path: Path) -> None:
    """An hour: nobody waits for that, and the clock goes on above all that it gave out."""
    async with opened(tmp_path) as clock:
        last = await clock.next()
    begun = wall_ms()
    async with opened(tmp_path, set_back_ms=3_600_000) as clock:
        assert await clock.next() > last
    assert wall_ms() - begun < 900
