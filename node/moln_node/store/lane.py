"""A lane: a thread with a database connection that takes every job that waits, does them, and answers in one go.

The event loop only appends to a queue; under load the cost of waking threads, and of an fsync, is shared by all the
jobs that came meanwhile. `store` runs one lane that writes and a few that read.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from moln_node.store.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C")
T = TypeVar("T")

_MOST_AT_ONCE: Final = 256
_log = logging.getLogger("moln.store")


class Job(Generic[C, T]):
    """Something to do with a lane's context. Its outcome is set by the lane's worker, and told by the lane."""

    __slots__ = ("error", "future", "result", "run")

    def __init__(self, run: Callable[[C], T], future: asyncio.Future[T]) -> None:
        self.run = run
        self.future = future
        self.result: T | None = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits, on its loop."""
        if self.future.done():  # cancelled while it waited
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]
        else:
            self.future.set_exception(self.error)


class Worker(Protocol[C]):
    """What a lane's thread does."""

    def work(self, jobs: list[Job[C, object]]) -> None:
        """Run every job and set its result or its error; raises nothing."""
        ...

    def close(self) -> None:
        """Called once, after the last job."""
        ...


class Lane(Generic[C]):
    """One queue and the threads that serve it, each with a worker of its own."""

    def __init__(self, name: str, workers: list[Worker[C]], most_at_once: int = _MOST_AT_ONCE) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job[C, object] | None] = SimpleQueue()
        self._most = most_at_once
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name=f"moln-{name}-{number}", daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, run: Callable[[C], T]) -> asyncio.Future[T]:
        """Do `run` on the lane. A cancelled future means that nobody waits, not that it is not done."""
        if self._closed:
            raise ClosedError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(Job(run, future))  # type: ignore[arg-type]
        return future

    @property
    def waiting(self) -> int:
        """How many jobs no thread has taken yet."""
        return self._queue.qsize()

    async def close(self) -> None:
        """Finish the jobs that wait, then stop the threads."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._queue.put(None)
        await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in self._threads))

    def _serve(self, worker: Worker[C]) -> None:
        """A thread: take what waits, work, answer."""
        open_ = True
        while open_:
            jobs, open_ = self._take()
            if jobs:
                _work(worker, jobs)
                try:
                    self._loop.call_soon_threadsafe(_settle, jobs)
                except RuntimeError:  # the loop is gone, and with it everybody who waited
                    break
        worker.close()

    def _take(self) -> tuple[list[Job[C, object]], bool]:
        """Wait for a job, and take those behind it; False with the last ones before closing."""
        jobs: list[Job[C, object]] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._most:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False


def _work(worker: Worker[C], jobs: list[Job[C, object]]) -> None:
    """Let the worker work; should it break its word and raise, whoever waits is told, and the lane goes on."""
    try:
        worker.work(jobs)
    except BaseException as error:  # noqa: BLE001 (nobody else would tell those who wait)
        _log.exception("a lane's worker failed")
        for job in jobs:
            job.error = error


def _settle(jobs: list[Job[C, object]]) -> None:
    """On the loop: tell everybody of one batch."""
    for job in jobs:
        job.settle()
