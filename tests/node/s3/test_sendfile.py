"""The system sends bytes from a file, on asyncio's own loop and on the one that nodes run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from moln_node.s3 import sendfile

if TYPE_CHECKING:
    from pathlib import Path

DATA = os.urandom(9 * 1024 * 1024)  # more than sockets hold: the sender has to wait
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, bytes]]
loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def sent(
    path: Path, offset: int, length: int, client: Client, loop: Callable[[], asyncio.AbstractEventLoop]
) -> tuple[int, bytes]:
    """How many bytes are said to be sent of a file, and what the client makes of them."""
    path.write_bytes(DATA)

    async def serve() -> tuple[int, bytes]:
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            file = os.open(path, os.O_RDONLY)
            try:
                outcome.set_result(await sendfile.send(writer.transport, file, offset, length))
            except ConnectionError as error:
                outcome.set_exception(error)
            finally:
                os.close(file)
                writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            got = await client(reader, writer)
            async with asyncio.timeout(10):
                count = await outcome
            writer.close()
            return count, got

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(serve())


async def whole(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> bytes:
    """A client that is slow at first."""
    await asyncio.sleep(0.1)
    return await reader.read()


async def away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """A client that goes after a few bytes."""
    first = await reader.readexactly(10)
    writer.transport.abort()
    return first


@loops
def test_the_bytes_of_a_range_arrive(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """However often the sender has to wait for the client."""
    count, got = sent(tmp_path / "file", 5, len(DATA) - 10, whole, loop)
    assert count == len(DATA) - 10
    assert got == DATA[5:-5]


@loops
def test_a_file_that_ends_before_is_told(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """By the count; whoever asked cuts the connection."""
    count, got = sent(tmp_path / "file", len(DATA) - 7, 100, whole, loop)
    assert (count, got) == (7, DATA[-7:])


@loops
def test_a_client_that_goes_is_noticed(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """As a lost connection, also where the sender waits."""
    with pytest.raises(ConnectionError):
        sent(tmp_path / "file", 0, len(DATA), away, loop)
