"""Opening an object, and reading its bytes in checked blocks.

An object's record and bytes belong together: opening finds the record, then holds what it needs (a body that is not
large itself, or pins on the files), then makes sure that the record was still there, so nothing can have been collected
in between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from moln_node.store import documents, inline, lookup
from moln_node.store.documents import Place
from moln_node.store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from concurrent.futures import Executor, Future
    from types import TracebackType

    import apsw

    from moln_node.store.bodies import BodyDirectory
    from moln_node.store.bodyfile import BodyFile
    from moln_node.store.documents import Segment
    from moln_node.store.model import Record
    from moln_node.store.state import Pins

STRIDE: Final = 1024 * 1024
"""Bytes that a thread reads at a time: a whole number of blocks."""

_AT_ONCE: Final = 256 * 1024  # bytes: a body up to this size is read as it is found, in the same hop to a thread
_TRIES: Final = 100  # the object was replaced between two reads of the index, so often in a row


class Held:
    """An object found, its bytes held. `release` must be called once."""

    __slots__ = ("data", "pinned", "record", "segments")

    def __init__(self, record: Record, data: bytes | None, segments: tuple[Segment, ...], pinned: list[int]) -> None:
        self.record = record
        self.data = data
        self.segments = segments
        self.pinned = pinned


def hold(
    db: apsw.Connection,
    bodies: BodyDirectory,
    pins: Pins,
    bucket: str,
    bucket_id: int,
    key: str,
    version_id: str | None,
) -> Held:
    """Find an object and hold its bytes. Blocking; called on the reading lanes.

    Raises:
        NoSuchKeyError, NoSuchVersionError, IsDeleteMarkerError, CorruptError: as `Objects.open` says.
    """
    raw = key.encode()
    for _ in range(_TRIES):
        version, document, latest = lookup.live(db, bucket_id, raw, version_id)
        layout = lookup.layout(db, document.layout) if document.layout else documents.LayoutDocument(document.segments)
        if layout is not None:
            record = documents.record_model(bucket, key, version, document, parts=layout.parts, latest=latest)
            if len(layout.segments) == 1 and layout.segments[0].size <= _AT_ONCE:
                data = _whole(db, bodies, layout.segments[0])
                if data is not None:
                    return Held(record, data, (), [])
            else:
                pinned = [segment.id for segment in layout.segments]
                pins.add(pinned)
                if lookup.at(db, bucket_id, raw, version) is not None:
                    return Held(record, None, layout.segments, pinned)
                pins.remove(pinned)
                continue
        if lookup.at(db, bucket_id, raw, version) is not None:
            break
    raise CorruptError("the index has lost bytes that a record refers to: they are not served")


def _whole(db: apsw.Connection, bodies: BodyDirectory, segment: Segment) -> bytes | None:
    """The bytes of a body; None if it is there no more."""
    if segment.place == Place.INLINE:
        row = db.execute("SELECT content FROM small WHERE id = ?", (segment.id,)).fetchone()
        return None if row is None else inline.decode(segment.id, segment.size, row[0])
    try:
        file = bodies.open(segment.id)
    except FileNotFoundError:
        return None
    try:
        return b"".join(file.read(0, segment.size))
    finally:
        file.close()


class OpenObject:
    """An object opened for reading: an async context manager, and the `Reading` that it gives."""

    def __init__(
        self, bodies: BodyDirectory, threads: Executor, pins: Pins, find: Callable[[], asyncio.Future[Held]]
    ) -> None:
        self._bodies = bodies
        self._threads = threads
        self._pins = pins
        self._find = find
        self._held: Held | None = None

    async def __aenter__(self) -> Self:
        finding = self._find()
        try:
            self._held = await asyncio.shield(finding)
        except asyncio.CancelledError:
            finding.add_done_callback(self._release_late)
            raise
        return self

    def _release_late(self, finding: asyncio.Future[Held]) -> None:
        """Whoever opened was cancelled: what was found for them is let go."""
        if not finding.cancelled() and finding.exception() is None:
            self._pins.remove(finding.result().pinned)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held is not None:
            self._pins.remove(self._held.pinned)
            self._held = None

    @property
    def record(self) -> Record:
        """What was opened."""
        return self._opened().record

    def _opened(self) -> Held:
        if self._held is None:
            raise RuntimeError("the object is not open: use `async with`")
        return self._held

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in checked blocks; CorruptError if one is bad."""
        held = self._opened()
        end = min(end, held.record.size)
        if held.data is not None:
            if start < end:
                yield held.data if (start, end) == (0, len(held.data)) else held.data[start:end]
            return
        reader = _FileReader(self._bodies)
        pending: Future[list[bytes]] | None = None
        try:
            for stride in _split(held.segments, start, end):
                blocks = [] if pending is None else await asyncio.wrap_future(pending)
                pending = self._threads.submit(reader.read, *stride)  # reads on while these blocks are sent
                for block in blocks:
                    yield block
            for block in [] if pending is None else await asyncio.wrap_future(pending):
                yield block
        finally:
            if pending is None or pending.done():
                reader.close()
            else:
                pending.add_done_callback(lambda _: reader.close())


class _FileReader:
    """Reads strides of body files, one after the other, keeping the current file open. One thread at a time."""

    def __init__(self, bodies: BodyDirectory) -> None:
        self._bodies = bodies
        self._id = -1
        self._file: BodyFile | None = None

    def read(self, body_id: int, start: int, end: int) -> list[bytes]:
        """The checked bytes of a body from `start` up to `end`, by blocks."""
        if self._file is None or self._id != body_id:
            self.close()
            try:
                self._file = self._bodies.open(body_id)
            except FileNotFoundError as error:
                raise CorruptError(f"body file {body_id:016x} is missing") from error
            self._id = body_id
        return self._file.read(start, end)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _split(segments: tuple[Segment, ...], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The strides that make up a range of an object: body id, and from where to where within it."""
    base = 0
    for segment in segments:
        low, high = max(start - base, 0), min(end - base, segment.size)
        while low < high:
            stop = min(high, (low // STRIDE + 1) * STRIDE)
            yield segment.id, low, stop
            low = stop
        base += segment.size
        if base >= end:
            return
