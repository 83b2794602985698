"""One address for many nodes, as a Service has it: each connection goes on to the next of them, whatever it carries."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_CHUNK = 64 * 1024
_START_SECONDS = 10.0


class Spray:
    """A context manager, in a thread of its own so that blocking clients can use it; `address` is host:port."""

    def __init__(self, targets: Sequence[str]) -> None:
        self._next = itertools.cycle(targets)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="spray")
        self._ready = threading.Event()
        self._end = asyncio.Event()
        self.address = ""
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = self._loop.create_task(self._carry(reader, writer, next(self._next)))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    @staticmethod
    async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: str) -> None:
        streams = [writer]
        try:
            with contextlib.suppress(OSError):
                host, port = target.rsplit(":", 1)
                back, there = await asyncio.open_connection(host, int(port))
                streams.append(there)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(reader, there))
                    group.create_task(_pump(back, writer))
        finally:
            for stream in streams:
                stream.transport.abort()
            await asyncio.sleep(0)  # so that the transports are closed when this is over


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
