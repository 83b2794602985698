"""Deduplication: a body is cut where its content says so, and a chunk that the store has is not written again.

FastCDC cuts, so that equal stretches give equal chunks wherever they begin; SHA-256 tells chunks apart. A chunk that is
there already is pinned on the writing lane, where references are counted, and read back before anybody relies on it: a
damaged one is written anew. Each chunk is a body file of its own, so what nobody refers to any more goes at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from pyfastcdc import FastCDC

from moln_node.store.bodies import BodyDirectory, NewBody
from moln_node.store.bodyfile import packed
from moln_node.store.errors import CorruptError
from moln_node.store.ingest import BATCH, batches
from moln_node.store.packing import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from concurrent.futures import Executor

    from moln_node.store.bodyfile import BodyFileWriter
    from moln_node.store.model import Sealed

SMALLEST: Final = 256 * 1024
LARGEST: Final = 4 * 1024 * 1024
_AVERAGE: Final = 1024 * 1024
_WINDOW: Final = 2 * LARGEST  # bytes that are looked at together: the memory of one write

T = TypeVar("T")
Cut = tuple[bytes, bytes]
"""A chunk and its SHA-256."""


class ChunkTaker:
    """Takes one body in, chunk by chunk.

    Args:
        bodies: where chunks are written.
        threads: where that is done.
        pin: finds and pins the chunk of a hash, on the writing lane.
        release: lets go of chunks that became nobody's: unpins, and removes what was written.
        level: zstd's, or None.
        word: what that is called; a chunk that is there and was packed with another level does not get it.
        anew: such a chunk is not shared, but written anew.
    """

    def __init__(
        self,
        bodies: BodyDirectory,
        threads: Executor,
        pin: Callable[[bytes], Awaitable[int | None]],
        release: Callable[[Sequence[NewBody]], None],
        level: int | None,
        word: str,
        *,
        anew: bool = False,
    ) -> None:
        self._packed = packed(level)
        self._word = word
        self._anew = anew
        self._bodies = bodies
        self._threads = threads
        self._pin = pin
        self._release = release
        self._level = level
        self._taken: list[NewBody] = []
        self._by_hash: dict[bytes, NewBody] = {}
        self._working: asyncio.Task[None] | None = None

    async def take(
        self, body: AsyncIterator[bytes], size: int, seal: Callable[[], Awaitable[Sealed]]
    ) -> tuple[tuple[NewBody, ...], Sealed]:
        """Take the body; when this returns every chunk is on the disk, pinned where it is shared."""
        window = bytearray()
        try:
            async for batch in batches(body, size):
                for piece in batch:
                    window += piece
                if len(window) > _WINDOW - BATCH:
                    await self._work(window, last=False)
            await self._work(window, last=True)
            return tuple(self._taken), await seal()
        except BaseException:
            self._undo()
            raise

    async def _work(self, window: bytearray, *, last: bool) -> None:
        """Take chunks out of the window. Whoever is cancelled here leaves the work to end by itself."""
        self._working = asyncio.create_task(self._empty(window, last=last))
        await asyncio.shield(self._working)

    def _undo(self) -> None:
        """Let go of everything, once the work under way has ended."""
        if self._working is None or self._working.done():
            self._release(self._taken)
        else:
            self._working.add_done_callback(lambda _: self._release(self._taken))

    async def _empty(self, window: bytearray, *, last: bool) -> None:
        """Take the chunks whose end is certain, and leave the rest in the window."""
        for data, digest in await self._in_thread(_cut, window, last):
            self._taken.append(await self._chunk(data, digest))
            del window[: len(data)]

    async def _chunk(self, data: bytes, digest: bytes) -> NewBody:
        """Refer to the chunk that is there and sound, or write it."""
        mine = self._by_hash.get(digest)
        if mine is not None:
            return NewBody(mine.id, len(data), 0, hash=digest, fresh=False, packing=mine.packing)
        found = await self._pin(digest)
        there = None if found is None else await self._in_thread(_packed_if_sound, self._bodies, found, data)
        if found is not None and there is not None and (there == self._packed or not self._anew):
            word = self._word if there == self._packed else UNKNOWN
            chunk = NewBody(found, len(data), 0, hash=digest, fresh=False, pinned=found, packing=word)
        else:
            chunk = await self._write(data, digest, spoilt=found)
        self._by_hash[digest] = chunk
        return chunk

    async def _write(self, data: bytes, digest: bytes, spoilt: int | None) -> NewBody:
        """Write a chunk, in place of one that is spoilt or packed otherwise."""
        writer = self._bodies.begin(self._level)
        try:
            written = await self._in_thread(_write, self._bodies, writer, data)
        except BaseException:
            self._release((NewBody(writer.id, len(data), 0, pinned=spoilt),))
            raise
        return replace(written, hash=digest, pinned=spoilt, replaces=spoilt, packing=self._word)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _cut(window: bytearray, last: bool) -> list[Cut]:  # noqa: FBT001 (called by position)
    """The chunks at the front of the window whose end does not depend on what comes after it."""
    cuts = []
    for chunk in FastCDC(_AVERAGE, min_size=SMALLEST, max_size=LARGEST).cut_buf(window):
        if not last and chunk.offset + LARGEST > len(window):
            break
        data = bytes(chunk.data)
        cuts.append((data, hashlib.sha256(data).digest()))
    return cuts


def _packed_if_sound(bodies: BodyDirectory, body_id: int, data: bytes) -> int | None:
    """How the chunk on the disk is packed, if it is these bytes; else None."""
    try:
        file = bodies.open(body_id)
    except (FileNotFoundError, CorruptError):
        return None
    try:
        same = file.size == len(data) and b"".join(file.read(0, file.size)) == data
    except CorruptError:
        return None
    else:
        return file.packed if same else None
    finally:
        file.close()


def _write(bodies: BodyDirectory, writer: BodyFileWriter, data: bytes) -> NewBody:
    """Write a chunk to a file of its own, and bring it to the disk."""
    try:
        writer.write([data])
        return bodies.complete(writer)
    except BaseException:
        writer.discard()
        raise
