"""Holding the bytes of a record that was found, and reading them in checked blocks.

A record and its bytes belong together: holding takes what it needs (a body that is not large itself, or pins on the
files), then makes sure that the record was still there, so nothing can have been collected in between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from moln_node.store import inline, lookup
from moln_node.store.documents import LayoutDocument, Place
from moln_node.store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from concurrent.futures import Executor, Future

    import apsw

    from moln_node.store.bodies import BodyDirectory
    from moln_node.store.bodyfile import BodyFile
    from moln_node.store.documents import RecordDocument, Segment
    from moln_node.store.state import Pins
    from moln_spec.version import Version

P = TypeVar("P")

STRIDE: Final = 1024 * 1024
"""Bytes that a thread reads at a time: a whole number of blocks."""

_AT_ONCE: Final = 256 * 1024  # bytes: a body up to this size is read as it is found, in the same hop to a thread
_TRIES: Final = 100  # the object was replaced between two reads of the index, so often in a row


class Held:
    """The bytes of a version, held until they are released."""

    __slots__ = ("data", "parts", "pinned", "segments", "size", "version")

    def __init__(
        self, version: Version, size: int, layout: LayoutDocument, data: bytes | None, pinned: tuple[int, ...]
    ) -> None:
        self.version = version
        self.size = size
        self.parts = layout.parts
        self.segments = layout.segments
        self.data = data
        self.pinned = pinned


def hold(
    db: apsw.Connection, bodies: BodyDirectory, pins: Pins, bucket_id: int, key: bytes, found: lookup.Found
) -> Held | None:
    """Hold the bytes of a row that was just found; None if another took its place. Blocking; on the reading lanes.

    CorruptError if they are bad or missing.
    """
    for _ in range(_TRIES):
        version, document = found
        layout = lookup.layout(db, document.layout) if document.layout else LayoutDocument(document.segments)
        small = layout is not None and len(layout.segments) == 1 and document.size <= _AT_ONCE
        pinned: tuple[int, ...] = ()
        if layout is not None and small:
            data = _whole(db, bodies, layout.segments[0])
            if data is not None:
                return Held(version, document.size, layout, data, ())
        elif layout is not None:
            pinned = tuple([segment.id for segment in layout.segments])
            pins.add(pinned)
        again = lookup.at(db, bucket_id, key, version)
        if layout is not None and not small and again is not None and _same_bytes(again[1], document):
            return Held(version, document.size, layout, None, pinned)
        pins.remove(pinned)
        if again is None:
            return None
        found = again
    raise CorruptError("the index has lost bytes that a record refers to: they are not served")


def _same_bytes(one: RecordDocument, other: RecordDocument) -> bool:
    return (one.segments, one.layout) == (other.segments, other.layout)


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


class FileBytes:
    """Bytes that lie in a file as they are, and were checked there: the system can send them from where they are.

    They are to be sent before the next piece is asked for; then the file may be closed.
    """

    __slots__ = ("file", "length", "offset")

    def __init__(self, file: BodyFile, offset: int, length: int) -> None:
        self.file = file
        self.offset = offset
        self.length = length

    def __len__(self) -> int:
        return self.length


def read(held: Held, bodies: BodyDirectory, threads: Executor, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes from `start` up to, not including, `end`, in checked blocks; CorruptError if one is bad."""
    reader = _FileReader(bodies)
    return _pieces(held, reader, reader.read, threads, start, end)


def pieces(
    held: Held, bodies: BodyDirectory, threads: Executor, start: int, end: int
) -> AsyncIterator[bytes | FileBytes]:
    """As `read`; what lies in a file as it is stays there."""
    reader = _FileReader(bodies)
    return _pieces(held, reader, reader.place, threads, start, end)


async def _pieces(
    held: Held,
    reader: _FileReader,
    stride_of: Callable[[int, int, int], list[P]],
    threads: Executor,
    start: int,
    end: int,
) -> AsyncIterator[bytes | P]:
    end = min(end, held.size)
    if held.data is not None:
        if start < end:
            yield held.data if (start, end) == (0, len(held.data)) else held.data[start:end]
        return
    pending: Future[list[P]] | None = None
    try:
        for stride in _split(held.segments, start, end):
            blocks = [] if pending is None else await asyncio.wrap_future(pending)
            pending = threads.submit(stride_of, *stride)  # reads on while these blocks are sent
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
        self._before: BodyFile | None = None  # the bytes of the stride before may be on their way from it

    def read(self, body_id: int, start: int, end: int) -> list[bytes]:
        """The checked bytes of a body from `start` up to `end`, by blocks."""
        return self._open(body_id).read(start, end)

    def place(self, body_id: int, start: int, end: int) -> list[bytes | FileBytes]:
        """As `read`, but the bytes stay in the file where they lie in it as they are."""
        file = self._open(body_id)
        offset = file.place(start, end)
        return [*file.read(start, end)] if offset is None else [FileBytes(file, offset, end - start)]

    def _open(self, body_id: int) -> BodyFile:
        if self._before is not None:
            self._before.close()
            self._before = None
        if self._file is None or self._id != body_id:
            self._before, self._file = self._file, None
            try:
                self._file = self._bodies.open(body_id)
            except FileNotFoundError as error:
                raise CorruptError(f"body file {body_id:016x} is missing") from error
            self._id = body_id
        return self._file

    def close(self) -> None:
        """Let go of the files."""
        for file in (self._before, self._file):
            if file is not None:
                file.close()
        self._before = self._file = None


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
