"""From a client's stream to bytes that are safe: small bodies in memory, larger ones in files as they come.

Runs on the event loop; disk work goes to the store's threads, one batch at a time for each body, so that a slow disk
holds back the socket and memory stays at two batches whatever the size.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from moln_node.store import inline
from moln_node.store.bodies import BodyDirectory, NewBody
from moln_node.store.errors import IncompleteBodyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from concurrent.futures import Executor, Future

    from moln_node.store.bodyfile import BodyFileWriter
    from moln_node.store.model import Sealed

BATCH: Final = 1024 * 1024
"""Bytes that go to a thread at a time, or somewhat more."""


async def gather(body: AsyncIterator[bytes], size: int) -> bytes:
    """The whole of a small body; IncompleteBodyError unless it is `size` bytes."""
    pieces = []
    got = 0
    async for piece in body:
        got += len(piece)
        if got > size:
            break
        pieces.append(piece)
    _check_size(got, size)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def take_inline(
    bodies: BodyDirectory,
    body: AsyncIterator[bytes],
    size: int,
    seal: Callable[[], Awaitable[Sealed]],
    level: int | None,
) -> tuple[tuple[NewBody, ...], Sealed]:
    """Take a body that will live in the index."""
    data = await gather(body, size)
    sealed = await seal()
    if not data:
        return (), sealed
    body_id = bodies.new_id()
    row = inline.encode(body_id, data, level)
    return (NewBody(body_id, size, len(row), inline=row),), sealed


async def take_file(
    bodies: BodyDirectory,
    threads: Executor,
    body: AsyncIterator[bytes],
    size: int,
    seal: Callable[[], Awaitable[Sealed]],
    level: int | None,
) -> tuple[tuple[NewBody, ...], Sealed]:
    """Take a body into a file of its own, which is on the disk when this returns.

    Whatever goes wrong, or whoever cancels, the file goes again.
    """
    writer = bodies.begin(level)
    pending: Future[None] | None = None
    finishing: Future[NewBody] | None = None
    try:
        left = size
        batch: list[bytes] = []
        async for batch in batches(body, size):
            if pending is not None:
                await asyncio.wrap_future(pending)
            left -= sum(map(len, batch))
            if left:  # the last batch goes with the rest, in one hop to a thread
                pending = threads.submit(writer.write, batch)
        finishing = threads.submit(_finish, bodies, writer, batch)
        sealed = await seal()
        return (await asyncio.wrap_future(finishing),), sealed
    except BaseException:
        _undo(bodies, threads, writer, finishing or pending)
        raise


def _finish(bodies: BodyDirectory, writer: BodyFileWriter, last: list[bytes]) -> NewBody:
    """Write the last batch, and bring the file to the disk."""
    writer.write(last)
    return bodies.complete(writer)


def _undo(
    bodies: BodyDirectory,
    threads: Executor,
    writer: BodyFileWriter,
    last: Future[None] | Future[NewBody] | None,
) -> None:
    """Remove a file once the thread that works on it has let go."""

    def remove(_: object = None) -> None:
        writer.discard()
        bodies.delete((writer.id,))

    if last is None or last.done():
        threads.submit(remove)
    else:
        last.add_done_callback(remove)


async def batches(body: AsyncIterator[bytes], size: int) -> AsyncIterator[list[bytes]]:
    """The stream's pieces, gathered to BATCH bytes or somewhat more; IncompleteBodyError unless it is `size` bytes."""
    pieces: list[bytes] = []
    held = got = 0
    async for piece in body:
        got += len(piece)
        if got > size:
            break
        if piece:
            pieces.append(piece)
            held += len(piece)
        if held >= BATCH:
            yield pieces
            pieces, held = [], 0
    _check_size(got, size)
    if pieces:
        yield pieces


def _check_size(got: int, size: int) -> None:
    if got != size:
        more = "more than" if got > size else f"{got} of"
        raise IncompleteBodyError(f"the body was declared as {size} bytes, and {more} these came")
