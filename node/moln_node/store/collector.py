"""The collector: removes body files that no record refers to any more.

A body becomes garbage in the transaction that drops the last reference to it, and only after that transaction is on
the disk does it come here. A reader pins a body and then makes sure that its record is still there (`reading.hold`);
who shares a chunk pins it where references are counted. So a body that is garbage and not pinned when it is claimed is
not used again. The garbage row goes last: a crash leaves it at worst, and the file is removed after the next opening.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from moln_node.store.errors import StoreError
from moln_node.store.steps.bodies import claim, forget

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from concurrent.futures import Executor

    from moln_node.store.bodies import BodyDirectory
    from moln_node.store.state import Pins
    from moln_node.store.transaction import Transaction

T = TypeVar("T")

_GATHER_S: Final = 0.05  # how long garbage is gathered, so that a directory is synced once for many files
_RETRY_S: Final = 1.0  # how long a body that is being read, or could not be removed, is left alone
_MOST_AT_ONCE: Final = 1000
_log = logging.getLogger("moln.store")


class _Commit(Protocol):
    """`Store.commit`, as far as it is needed here."""

    def __call__(self, step: Callable[[Transaction], T]) -> Awaitable[T]: ...


class Collector:
    """Takes bodies as they become garbage, on any thread, and removes them in the background.

    Attributes:
        collected: bodies that were removed.
    """

    def __init__(
        self,
        bodies: BodyDirectory,
        threads: Executor,
        pins: Pins,
        commit: _Commit,
        garbage: Iterable[int],
    ) -> None:
        self._bodies = bodies
        self._threads = threads
        self._pins = pins
        self._commit = commit
        self._loop = asyncio.get_running_loop()
        self._waiting = set(garbage)
        self.collected = 0
        self._wake = asyncio.Event()
        self._passing = asyncio.Lock()
        self._task = self._loop.create_task(self._run(), name="moln-collector")
        if self._waiting:
            self._wake.set()

    def offer(self, garbage: list[int]) -> None:
        """Take bodies whose last reference was dropped by a committed transaction. Called on the writing lane."""
        if garbage:
            self._loop.call_soon_threadsafe(self._take, garbage)

    def _take(self, garbage: list[int]) -> None:
        self._waiting.update(garbage)
        self._wake.set()

    async def collect(self) -> int:
        """Remove now whatever can be removed; how many files that were."""
        async with self._passing:
            removed = 0
            candidates = sorted(self._waiting)
            for start in range(0, len(candidates), _MOST_AT_ONCE):
                removed += await self._collect(candidates[start : start + _MOST_AT_ONCE])
            return removed

    async def _collect(self, candidates: list[int]) -> int:
        """Remove those candidates that are free; how many.

        They wait no more before they are claimed, and not after: one that becomes garbage again meanwhile is offered
        again, and must not be taken for one that was dealt with.
        """
        self._waiting.difference_update(candidates)
        try:
            free, pinned = await self._commit(partial(claim, body_ids=candidates, pins=self._pins))
            if free:
                await self._loop.run_in_executor(self._threads, self._bodies.delete, free)
                await self._commit(partial(forget, body_ids=free))
        except BaseException:
            self._waiting.update(candidates)
            raise
        self._waiting.update(pinned)
        self.collected += len(free)
        return len(free)

    @property
    def waiting(self) -> int:
        """How many bodies wait to be removed."""
        return len(self._waiting)

    async def _run(self) -> None:
        """Collect for ever; ended by cancellation."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_GATHER_S)
            try:
                await self.collect()
            except (OSError, StoreError) as error:
                _log.warning("bodies could not be collected, and will be tried again: %s", error)
            if self._waiting and not self._wake.is_set():
                self._loop.call_later(_RETRY_S, self._wake.set)

    async def close(self) -> None:
        """Stop; what waits is collected after the next opening."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
