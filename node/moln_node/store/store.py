"""One store: everything that a node keeps on its disk, opened, put together and closed.

`cluster` calls it from the event loop. It decides nothing about S3: it commits steps, answers look-ups, takes in bodies
and opens objects. Only one process has a data directory open at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from moln_node import tracing
from moln_node.store import ingest, inline, opening, reading
from moln_node.store.activity import LOG_SUFFIX, Activity, size
from moln_node.store.bodies import BodyDirectory, NewBody, naming_full_disk
from moln_node.store.chunks import ChunkTaker
from moln_node.store.collector import Collector
from moln_node.store.lane import Lane
from moln_node.store.packing import packing
from moln_node.store.reads import Reads
from moln_node.store.scrub import Scrub
from moln_node.store.steps.bodies import find_and_pin
from moln_node.store.writer import GroupCommit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    import apsw

    from moln_node.store.errors import DiskFailedError, IndexDamagedError
    from moln_node.store.ledger import Ledger
    from moln_node.store.lookup import Found
    from moln_node.store.model import Sealed
    from moln_node.store.reading import FileBytes, Held
    from moln_node.store.registers import Register
    from moln_node.store.report import Report
    from moln_node.store.scrub import Course, Mend, Mode
    from moln_node.store.state import State
    from moln_node.store.transaction import BucketRow, Effects, Transaction

T = TypeVar("T")

_log = logging.getLogger("moln.store")
_READS_AT_ONCE: Final = 8  # queries that one reading thread takes, so that the others have some too
_THREADS: Final = 16  # for body files


class Store:
    """A data directory in use. Made by `open`, ended by `close`.

    Attributes:
        unnamed: told, on the event loop, of bodies apart that records here named before a commit.
        index_damage: what was wrong with the first page of the index that could not be read; None while all are good.
    """

    def __init__(
        self, lock: int, threads: ThreadPoolExecutor, bodies: BodyDirectory, ledger: Ledger, state: State, path: Path
    ) -> None:
        self._lock = lock
        self._threads = threads
        self._state = state
        self._path = path
        self.bodies = bodies
        self.ledger = ledger
        self.unnamed: Callable[[Sequence[tuple[Register, str]]], None] = lambda _: None
        self._loop = asyncio.get_running_loop()
        self._failed = asyncio.Event()
        self.index_damage: IndexDamagedError | None = None
        self._committing: GroupCommit
        self._reads: tuple[Reads, ...]
        self._writing: Lane[Transaction]
        self._reading: Lane[apsw.Connection]
        self._collector: Collector

    @classmethod
    async def open(cls, data: Path, node_number: int) -> Self:
        """Open the store in `data`, made where it is empty.

        Raises:
            DataInUseError: another process has it open.
            UnsupportedFormatError: another release wrote it.
        """
        lock = await asyncio.to_thread(opening.lock, data)
        try:
            return await cls._open(data, node_number, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    async def _open(cls, data: Path, node_number: int, lock: int) -> Self:
        index = await asyncio.to_thread(opening.open_index, data, node_number)
        bodies = index.bodies
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="moln-bodies")
        store = cls(lock, threads, bodies, index.ledger, index.state, data / opening.INDEX)
        store._committing = GroupCommit(
            index.writer,
            index.clock,
            index.state,
            bodies.mark,
            store._committed,
            store._commit_failed,
            store.index_is_damaged,
        )
        store._writing = Lane("write", [store._committing])
        store._reads = tuple(Reads(connection, store.index_is_damaged) for connection in index.readers)
        store._reading = Lane("read", list(store._reads), _READS_AT_ONCE)
        store._collector = Collector(bodies, threads, index.state.pins, store.commit, index.garbage)
        return store

    async def close(self) -> None:
        """Finish what was begun, fold the log into the index, and let go of the directory."""
        await self._collector.close()
        await self._reading.close()
        await self._writing.close()
        await asyncio.to_thread(self._threads.shutdown)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def failure(self) -> DiskFailedError | None:
        """Why nothing is written any more, until the store is opened again; None while all is well."""
        return self._committing.broken

    async def fails(self) -> DiskFailedError:
        """Wait until nothing can be written any more, which is mostly for ever; why."""
        await self._failed.wait()
        failure = self.failure
        if failure is None:
            raise AssertionError  # it is there before anybody is told
        return failure

    @property
    def buckets(self) -> Mapping[str, BucketRow]:
        """The buckets as last committed."""
        return self._state.buckets

    def activity(self) -> Activity:
        """What it has done since the opening, and what waits."""
        caches = (self._committing.cache, *(reads.cache for reads in self._reads))
        return Activity(
            index_bytes=size(self._path),
            log_bytes=size(self._path.with_name(self._path.name + LOG_SUFFIX)),
            cache_hits=sum(cache.hits for cache in caches),
            cache_misses=sum(cache.misses for cache in caches),
            commits=self._committing.commits,
            steps=self._committing.steps,
            commit_seconds=self._committing.seconds,
            waiting_writes=self._writing.waiting,
            waiting_reads=self._reading.waiting,
            garbage=self._collector.waiting,
            collected=self._collector.collected,
        )

    def commit(self, step: Callable[[Transaction], T]) -> asyncio.Future[T]:
        """Do a step, and answer once it is on the disk."""
        return tracing.wait("store/commit", self._writing.submit(step))

    def look(self, query: Callable[[apsw.Connection], T]) -> asyncio.Future[T]:
        """Answer a query of the index."""
        return self._reading.submit(query)

    def hold(self, db: apsw.Connection, bucket_id: int, key: bytes, found: Found) -> Held | None:
        """Within a look: hold the bytes of a row that it found, until `release`; see `reading.hold`."""
        return reading.hold(db, self.bodies, self._state.pins, bucket_id, key, found)

    def release(self, held: Held) -> None:
        """Let the bytes go."""
        self._state.pins.remove(held.pinned)

    def read(self, held: Held, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in checked blocks; CorruptError if one is bad."""
        return reading.read(held, self.bodies, self._threads, start, end)

    def pieces(self, held: Held, start: int, end: int) -> AsyncIterator[bytes | FileBytes]:
        """As `read`; what lies in a file as it is stays there, checked."""
        return reading.pieces(held, self.bodies, self._threads, start, end)

    async def take(
        self,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
        level: int | None,
        *,
        small: bool = True,
        deduplicate: bool = False,
        anew: bool = False,
    ) -> tuple[tuple[NewBody, ...], Sealed]:
        """Take a body in; when this returns, its bytes are on the disk or will be with the record.

        `level` is zstd's, or None. `small` allows the body to live in the index; `deduplicate` cuts a large one into
        chunks that are kept once; `anew` shares none of them that was packed with another level.
        """
        word = packing(size, level, deduplicate=deduplicate, small=small)
        if size == 0 or (small and size <= inline.LIMIT):
            taken, sealed = await ingest.take_inline(self.bodies, body, size, seal, level)
            return tuple([replace(one, packing=word) for one in taken]), sealed
        with naming_full_disk():
            if deduplicate:
                taker = ChunkTaker(self.bodies, self._threads, self._pin_chunk, self.discard, level, word, anew=anew)
                return await taker.take(body, size, seal)
            taken, sealed = await ingest.take_file(self.bodies, self._threads, body, size, seal, level)
            return tuple([replace(one, packing=word) for one in taken]), sealed

    def discard(self, bodies: Sequence[NewBody]) -> None:
        """Let go of bodies that became nobody's: remove those written, unpin those found.

        After a commit of which nobody knows whether the disk kept it, files stay: they may be a record's when the store
        is opened again, and are removed then if they are not.
        """
        self._state.pins.remove([body.pinned for body in bodies if body.pinned is not None])
        files = [body.id for body in bodies if body.inline is None and body.fresh]
        if files and not self._committing.broken:
            self._threads.submit(self.bodies.delete, files)

    def _pin_chunk(self, digest: bytes) -> asyncio.Future[int | None]:
        """The chunk of that hash, pinned; None where there is none."""
        return self._writing.submit(partial(find_and_pin, digest=digest, pins=self._state.pins))

    async def collect(self) -> int:
        """Remove now what nothing refers to and nobody reads; how many files that were."""
        return await self._collector.collect()

    async def scrub(self, report: Report, mode: Mode, sample_percent: float, mend: Mend, course: Course) -> None:
        """Read back what the store holds; see `scrub`."""
        share = {"light": 0.0, "deep": 1.0, "sampled": sample_percent / 100}[mode]
        await Scrub(self, self._threads, self._path, report, share, mend, course).run()

    def index_is_damaged(self, error: IndexDamagedError) -> None:
        """Remember that a page can't be read, and say so once. Called on any thread."""
        if self.index_damage is None:
            self.index_damage = error
            _log.error("pages of this node's index can't be read, nor can what is on them: %s", error)

    def _commit_failed(self) -> None:
        """Called on the writing lane."""
        self._loop.call_soon_threadsafe(self._failed.set)

    def _committed(self, effects: Effects) -> None:
        """Called on the writing lane after each commit."""
        self.ledger.settle(effects.usage, effects.reservations)
        self.bodies.landed(effects.landed)
        self._state.pins.remove(effects.unpinned)
        self._collector.offer(effects.garbage)
        if effects.unnamed:
            self._loop.call_soon_threadsafe(lambda: self.unnamed(effects.unnamed))
