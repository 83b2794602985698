"""Scrub: reads back what the store holds, and says what is not as it was written.

*Light* decodes every record and opens every body file (header, trailer, block index). *Deep* reads every byte besides,
and every page of the index. *Sampled* is light for all and deep for a random share of the bodies. It repairs nothing by
itself: whoever asked for it is told of each version whose bytes are bad. It runs beside everything else, one body at a
time.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, Literal

from moln_node.store import database, inline, lookup
from moln_node.store.documents import Place
from moln_node.store.errors import CorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor
    from pathlib import Path

    import apsw

    from moln_node.store.documents import RecordDocument
    from moln_node.store.report import Report
    from moln_node.store.store import Store
    from moln_spec.version import Version

    Mend = Callable[[int, bytes, Version, RecordDocument], Awaitable[bool]]

Mode = Literal["light", "deep", "sampled"]
_PAGE: Final = 500


class Scrub:
    """One pass over a store.

    `mend` is awaited with each version whose bytes are bad: the number of its bucket, key, version and record. It says
    whether they are good again.
    """

    def __init__(self, store: Store, threads: Executor, index: Path, report: Report, share: float, mend: Mend) -> None:
        self._mend = mend
        self._store = store
        self._threads = threads
        self._index = index
        self._report = report
        self._share = share
        self._records = self._bodies = self._bytes = self._bad = self._healed = self._unhealed = 0
        self._bad_bodies: set[int] = set()

    async def run(self) -> None:
        """Read everything back, once."""
        self._tell()
        if self._share >= 1:
            await asyncio.to_thread(self._check_pages)
        await self._check_records()
        await self._check_bodies()
        if self._bad_bodies:
            await self._name_objects()

    def _tell(self) -> None:
        self._report.set(
            records=self._records,
            bodies=self._bodies,
            bytes=self._bytes,
            bad=self._bad,
            healed=self._healed,
            unhealed=self._unhealed,
        )

    def _found(self, finding: str) -> None:
        self._bad += 1
        self._report.found(finding)
        self._tell()

    def _count(self, *, healed: bool) -> None:
        """A version, or a record that can't be read, is whole again or not."""
        self._healed += healed
        self._unhealed += not healed
        self._tell()

    def _chosen(self) -> bool:
        """Whether to read this body's bytes."""
        return self._share >= 1 or random.random() < self._share  # noqa: S311 (a sample needs no secret)

    def _check_pages(self) -> None:
        """Every page of the index; on a connection and a thread of its own, because it takes as long as it takes."""
        connection = database.connect(self._index, read_only=True)
        try:
            with database.naming_errors():
                for (line,) in connection.execute("PRAGMA integrity_check(100)"):
                    if line != "ok":
                        self._unhealed += 1
                        self._found(f"index: {line}")
        except CorruptError as error:
            self._unhealed += 1
            self._found(f"index: {error}")
        finally:
            connection.close()

    async def _check_records(self) -> None:
        """Every record, and the small bodies of those chosen."""
        async for row in _rows(self._store):
            self._records += 1
            found: lookup.Found | None = None
            try:
                found = lookup.decode_record(*row)
                if self._chosen():
                    self._bytes += await self._store.look(
                        lambda db, r=row, d=found[1]: _read_small(db, r, d)  # type: ignore[misc]
                    )
            except CorruptError as error:
                self._found(f"object {self._object(row[0], row[1])}: {error}")
                self._count(healed=found is not None and await self._mend(row[0], row[1], *found))
            if self._records % _PAGE == 0:
                self._tell()
        self._tell()

    async def _check_bodies(self) -> None:
        """Every body file."""
        last = -1
        while rows := await self._store.look(
            lambda db, last=last: db.execute(  # type: ignore[misc]
                "SELECT id, size FROM body WHERE id > ? ORDER BY id LIMIT ?", (last, _PAGE)
            ).fetchall()
        ):
            for body_id, size in rows:
                last = body_id
                await self._check_body(body_id, size)

    async def _check_body(self, body_id: int, size: int) -> None:
        self._bodies += 1
        loop = asyncio.get_running_loop()
        try:
            self._bytes += await loop.run_in_executor(
                self._threads, _read_body, self._store, body_id, size, self._chosen()
            )
        except (StoreError, OSError) as error:
            if await self._store.look(lambda db: _is_referred_to(db, body_id)):
                self._bad_bodies.add(body_id)
                missing = isinstance(error, FileNotFoundError)
                self._found(f"body {body_id:016x}: {'its file is missing' if missing else error}")
        self._tell()

    async def _name_objects(self) -> None:
        """Say which objects the bad bodies belong to, and let them be mended."""
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

    def _object(self, bucket_id: int, key: bytes) -> str:
        name = next((name for name, row in self._store.buckets.items() if row.id == bucket_id), f"#{bucket_id}")
        return f"{name}/{key.decode(errors='replace')}"


async def _rows(store: Store) -> AsyncIterator[tuple[int, bytes, bytes, bytes]]:
    """Every row of table `record`, by pages, so that no reader holds a snapshot for long."""
    position: tuple[int, bytes, bytes] = (-1, b"", b"")
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


def _read_body(store: Store, body_id: int, size: int, deep: bool) -> int:  # noqa: FBT001 (called by position)
    """Open a body file and, if `deep`, read all of it; the bytes read."""
    file = store.bodies.open(body_id)
    try:
        if file.size != size:
            raise CorruptError(f"it has {file.size} bytes, and {size} were written")
        if not deep:
            return 0
        for start in range(0, size, file.block):
            file.read(start, min(size, start + file.block))
        return size
    finally:
        file.close()


def _is_referred_to(db: apsw.Connection, body_id: int) -> bool:
    return db.execute("SELECT 1 FROM body WHERE id = ? AND refs > 0", (body_id,)).fetchone() is not None


def _segments(db: apsw.Connection, document: RecordDocument) -> set[int]:
    """The body files of an object."""
    segments = document.segments
    if document.layout:
        layout = lookup.layout(db, document.layout)
        segments = () if layout is None else layout.segments
    return {segment.id for segment in segments if segment.place == Place.FILE}
