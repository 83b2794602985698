"""Scrub: reads back what the store holds, and says what is not as it was written.

*Light* decodes every record and opens every body file (header, trailer, block index). *Deep* reads every byte besides,
and every page of the index. *Sampled* is light for all and deep for a random share of the bodies. It repairs nothing by
itself: whoever asked for it is told of each version whose bytes are bad, soon after they were read. It runs beside
everything else, one body at a time, at the pace of its `Course`, and can go on from where an earlier one was.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

import apsw
import msgspec
from msgspec import structs

from moln_node.store import database, inline, lookup
from moln_node.store.documents import Place
from moln_node.store.errors import CorruptError, IndexDamagedError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from moln_node.store.bodyfile import BodyFile
    from moln_node.store.documents import RecordDocument
    from moln_node.store.report import Report
    from moln_node.store.store import Store
    from moln_spec.version import Version

    Mend = Callable[[int, bytes, Version, RecordDocument], Awaitable[bool]]

Mode = Literal["light", "deep", "sampled"]
_PAGE: Final = 500
_SLICE: Final = 1024 * 1024
"""Bytes of a body that are read at once."""
_NAMING_SHARE: Final = 10
"""How much longer reading goes on than the search for the objects of bad bodies took."""


class Counts(msgspec.Struct, frozen=True):
    """What a scrub has found.

    Attributes:
        records: that were decoded.
        bodies: files that were opened.
        bytes: that were read, as clients wrote them.
        bad: things that are damaged.
        healed: versions, or records, that are good again.
        unhealed: those that are not.
    """

    records: int = 0
    bodies: int = 0
    bytes: int = 0
    bad: int = 0
    healed: int = 0
    unhealed: int = 0


class Mark(msgspec.Struct, frozen=True):
    """How far a scrub is, so that another can go on: all before it is read, and what was bad was told of.

    Attributes:
        step: what it reads: the index's pages, then records with small bodies, then body files.
        record: the last one that is done: bucket, key, inverse.
        body: the last one that is done.
        counts: what was found up to here.
    """

    step: Literal["index", "records", "bodies"] = "index"
    record: tuple[int, bytes, bytes] = (-1, b"", b"")
    body: int = -1
    counts: Counts = Counts()


class Course:
    """How a scrub goes: from where, and at which pace. This one goes from the beginning, as fast as it can.

    Attributes:
        mark: how far it is.
    """

    def __init__(self, mark: Mark = Mark()) -> None:  # noqa: B008 (frozen)
        self.mark = mark

    async def spent(self, size: int) -> None:
        """Called after each thing that was read, with its bytes: the place to rest."""

    async def reached(self, mark: Mark) -> None:
        """Called where another scrub could go on, and at the end."""
        self.mark = mark


class Scrub:
    """One pass over a store.

    `mend` is awaited with each version whose bytes are bad: the number of its bucket, key, version and record. It says
    whether they are good again.
    """

    def __init__(
        self, store: Store, threads: Executor, index: Path, report: Report, share: float, mend: Mend, course: Course
    ) -> None:
        self._mend = mend
        self._store = store
        self._threads = threads
        self._index = index
        self._report = report
        self._share = share
        self._course = course
        self._mark = course.mark
        self._counts = course.mark.counts
        self._bad_bodies: set[int] = set()
        self._name_again = 0.0

    async def run(self) -> None:
        """Read back everything behind the mark, once."""
        self._tell()
        if self._mark.step == "index":
            if self._share >= 1:
                await self._check_pages()
            await self._reached(step="records")
        if self._mark.step == "records":
            await self._check_records()
            await self._reached(step="bodies")
        await self._check_bodies()
        await self._name_objects()
        await self._reached()

    async def _reached(self, **place: object) -> None:
        self._tell()
        self._mark = structs.replace(self._mark, counts=self._counts, **place)
        await self._course.reached(self._mark)

    def _tell(self) -> None:
        self._report.set(**structs.asdict(self._counts))

    def _add(self, **more: int) -> None:
        self._counts = structs.replace(
            self._counts, **{name: getattr(self._counts, name) + number for name, number in more.items()}
        )

    def _found(self, finding: str) -> None:
        self._add(bad=1)
        self._report.found(finding)
        self._tell()

    def _count(self, *, healed: bool) -> None:
        """A version, or a record that can't be read, is whole again or not."""
        self._add(healed=healed, unhealed=not healed)
        self._tell()

    def _chosen(self) -> bool:
        """Whether to read this body's bytes."""
        return self._share >= 1 or random.random() < self._share  # noqa: S311 (a sample needs no secret)

    async def _check_pages(self) -> None:
        """Every page of the index; on a connection and a thread of its own, because it takes as long as it takes."""
        connection = await asyncio.to_thread(database.connect, self._index, read_only=True)
        try:
            lines = await asyncio.to_thread(_bad_pages, connection)
        except asyncio.CancelledError:
            with suppress(apsw.ConnectionClosedError):
                connection.interrupt()
            raise
        for line in lines:
            self._store.index_is_damaged(IndexDamagedError(line))
            self._add(unhealed=1)
            self._found(f"index: {line}")

    async def _check_records(self) -> None:
        """Every record, and the small bodies of those chosen."""
        async for row in _rows(self._store, self._mark.record):
            read = 0
            found: lookup.Found | None = None
            try:
                found = lookup.decode_record(*row)
                if self._chosen():
                    read = await self._store.look(
                        lambda db, r=row, d=found[1]: _read_small(db, r, d)  # type: ignore[misc]
                    )
            except CorruptError as error:
                self._found(f"object {self._object(row[0], row[1])}: {error}")
                self._count(healed=found is not None and await self._mend(row[0], row[1], *found))
            self._add(records=1, bytes=read)
            await self._reached(record=row[:3])
            await self._course.spent(read)

    async def _check_bodies(self) -> None:
        """Every body file."""
        last = self._mark.body
        while rows := await self._store.look(
            lambda db, last=last: db.execute(  # type: ignore[misc]
                "SELECT id, size FROM body WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
            ).fetchall()
        ):
            for body_id, size in rows:
                last = body_id
                await self._check_body(body_id, size)
                if self._bad_bodies and asyncio.get_running_loop().time() >= self._name_again:
                    await self._name_objects()
                if not self._bad_bodies:
                    await self._reached(body=last)
                await self._course.spent(0)

    async def _check_body(self, body_id: int, size: int) -> None:
        self._add(bodies=1)
        try:
            await self._read_body(body_id, size)
        except (StoreError, OSError) as error:
            if await self._store.look(lambda db: _is_referred_to(db, body_id)):
                self._bad_bodies.add(body_id)
                missing = isinstance(error, FileNotFoundError)
                self._found(f"body {body_id:016x}: {'its file is missing' if missing else error}")
        self._tell()

    async def _read_body(self, body_id: int, size: int) -> None:
        """Open a body file and, if it is chosen, read all of it, a slice at a time."""
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._threads, self._store.bodies.open, body_id)
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise
        try:
            if file.size != size:
                raise CorruptError(f"it has {file.size} bytes, and {size} were written")
            if not self._chosen():
                return
            step = max(file.block, _SLICE - _SLICE % file.block)
            for start in range(0, size, step):
                end = min(size, start + step)
                await loop.run_in_executor(self._threads, _read_slice, file, start, end)
                self._add(bytes=end - start)
                self._tell()
                await self._course.spent(end - start)
        finally:
            file.close()

    async def _name_objects(self) -> None:
        """Say which objects the bad bodies belong to, and let them be mended."""
        if not self._bad_bodies:
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async for row in _rows(self._store):
            try:
                version, document = lookup.decode_record(*row)
                layout = await self._store.look(lambda db, d=document: _segments(db, d))  # type: ignore[misc]
            except CorruptError:
                continue
            bad = layout & self._bad_bodies
            if bad:
                names = ", ".join(f"{body_id:016x}" for body_id in sorted(bad))
                self._report.found(f"object {self._object(row[0], row[1])} is damaged: body {names}")
                self._count(healed=await self._mend(row[0], row[1], version, document))
        self._bad_bodies.clear()
        self._name_again = loop.time() + _NAMING_SHARE * (loop.time() - begun)

    def _object(self, bucket_id: int, key: bytes) -> str:
        name = next((name for name, row in self._store.buckets.items() if row.id == bucket_id), f"#{bucket_id}")
        return f"{name}/{key.decode(errors='replace')}"


async def _rows(
    store: Store, position: tuple[int, bytes, bytes] = (-1, b"", b"")
) -> AsyncIterator[tuple[int, bytes, bytes, bytes]]:
    """Every row of table `record` behind one, by pages, so that no reader holds a snapshot for long."""
    while page := await store.look(
        lambda db, p=position: db.execute(  # type: ignore[misc]
            "SELECT bucket, key, inverse, document FROM record WHERE (bucket, key, inverse) > (?, ?, ?)"
            " ORDER BY bucket, key, inverse LIMIT ?",
            (*p, _PAGE),
        ).fetchall()
    ):
        for row in page:
            yield row
        position = page[-1][:3]


def _bad_pages(connection: apsw.Connection) -> list[str]:
    """What is wrong with the pages of the index; closes the connection."""
    lines = []
    try:
        with database.naming_errors():
            lines += [line for (line,) in connection.execute("PRAGMA integrity_check(100)") if line != "ok"]
    except CorruptError as error:
        lines.append(str(error))
    finally:
        connection.close()
    return lines


def _read_small(db: apsw.Connection, record: tuple[int, bytes, bytes, bytes], document: RecordDocument) -> int:
    """Check the parts of an object that are in the index; the bytes read. `record` is its row as it was read."""
    if document.layout and lookup.layout(db, document.layout) is None:
        _require_replaced(db, record, document.layout)
    read = 0
    for segment in document.segments:
        if segment.place == Place.INLINE:
            row = db.execute("SELECT content FROM small WHERE id = ?", (segment.id,)).fetchone()
            if row is None:
                _require_replaced(db, record, segment.id)
            else:
                read += len(inline.decode(segment.id, segment.size, row[0]))
    return read


def _require_replaced(db: apsw.Connection, record: tuple[int, bytes, bytes, bytes], body_id: int) -> None:
    """CorruptError if a record is still as it was read though a body of it is gone: one transaction takes both."""
    sql = "SELECT 1 FROM record WHERE bucket = ? AND key = ? AND inverse = ? AND document = ?"
    if db.execute(sql, record).fetchone() is not None:
        raise CorruptError(f"body {body_id:016x} is missing in the index")


def _close(opening: asyncio.Future[BodyFile]) -> None:
    """Let go of a file that nobody waits for any more."""
    if opening.exception() is None:
        opening.result().close()


def _read_slice(file: BodyFile, start: int, end: int) -> None:
    """Read some blocks of a body from the disk itself: what the system has of it in memory is let go of."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.read(start, end)


def _is_referred_to(db: apsw.Connection, body_id: int) -> bool:
    return db.execute("SELECT 1 FROM body WHERE id = ? AND refs > 0", (body_id,)).fetchone() is not None


def _segments(db: apsw.Connection, document: RecordDocument) -> set[int]:
    """The body files of an object."""
    segments = document.segments
    if document.layout:
        layout = lookup.layout(db, document.layout)
        segments = () if layout is None else layout.segments
    return {segment.id for segment in segments if segment.place == Place.FILE}
