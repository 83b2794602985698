"""Asking several owners at once: every answer is looked at as it comes, and enough is enough."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from moln_node.cluster.errors import PeerError
from moln_node.store.errors import DiskFailedError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

T = TypeVar("T")
Failure = PeerError | StoreError | TimeoutError


class Fan(Generic[T]):
    """Calls to several owners under way. Iterate for their outcomes; `leave` or `cancel` those still under way."""

    def __init__(self, calls: Mapping[str, Coroutine[Any, Any, T]]) -> None:
        self._names: dict[asyncio.Task[T], str] = {}
        self.waiting: set[asyncio.Task[T]] = set()
        for name, call in calls.items():
            self.add(name, call)

    def add(self, name: str, call: Coroutine[Any, Any, T]) -> None:
        """Begin one more call."""
        task = asyncio.create_task(call)
        self._names[task] = name
        self.waiting.add(task)

    async def next(self, deadline: float) -> tuple[str, T | Failure] | None:
        """An owner's name and its answer or failure; None where all are told, or none comes until `deadline`.

        The deadline is on the loop's clock.
        """
        while self.waiting:
            task = next((task for task in self.waiting if task.done()), None)
            if task is not None:
                self.waiting.discard(task)
                return self._names[task], outcome(task)
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            done, _ = await asyncio.wait(self.waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return None
        return None

    async def outcomes(self, deadline: float) -> AsyncIterator[tuple[str, T | Failure]]:
        """Each of `next`, as they come."""
        while (found := await self.next(deadline)) is not None:
            yield found

    def names(self) -> list[str]:
        """Those that have not answered."""
        return [self._names[task] for task in self.waiting]

    def cancel(self) -> None:
        """Give up the calls that have not answered."""
        for task in self.waiting:
            task.add_done_callback(_swallow)
            task.cancel()

    def leave(self, keep: set[asyncio.Task[T]], late: Callable[[str, T | Failure], None]) -> None:
        """Let the others finish by themselves; `late` is told of each. `keep` holds them meanwhile."""
        for task in self.waiting:
            keep.add(task)

            def finished(task: asyncio.Task[T]) -> None:
                keep.discard(task)
                if not task.cancelled():
                    late(self._names[task], outcome(task))

            task.add_done_callback(finished)


def is_undone(failure: object) -> bool:
    """Whether what was asked has certainly not come about, and will not."""
    if isinstance(failure, PeerError):
        return not failure.sent
    return isinstance(failure, StoreError) and not isinstance(failure, DiskFailedError)


def outcome(task: asyncio.Task[T]) -> T | Failure:
    """What a finished call came to; an error that is no owner's answer is a defect, and raised."""
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, PeerError | StoreError | TimeoutError):
        return error
    raise error


def _swallow(task: asyncio.Task[T]) -> None:
    if not task.cancelled():
        task.exception()
