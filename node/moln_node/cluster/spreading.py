"""A body on its way to its owners: read once from the client, sent to all of them at the same time.

Memory is bounded by a few pieces for each owner. The slowest owner sets the pace, within reason: one that stalls, or
breaks off, is left behind as long as enough of them remain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from xxhash import xxh3_128

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.store.errors import IncompleteBodyError, StorageFullError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.messages import Staged
    from moln_node.cluster.replica import Replica

_PIECE: Final = 256 * 1024
_QUEUED: Final = 8
_STALL_SECONDS: Final = 3.0
_LAST_SECONDS: Final = 30.0


class Spreading:
    """One body and the owners that take it."""

    def __init__(self, owners: Mapping[str, Replica], electorate: Electorate, storage_class: str, size: int) -> None:
        self._electorate = electorate
        self._size = size
        self._owners = owners
        self._failures: list[BaseException] = []
        self._queues: dict[str, asyncio.Queue[bytes | None]] = {name: asyncio.Queue(_QUEUED) for name in owners}
        self._tasks = {
            name: asyncio.create_task(owner.stage(storage_class, size, self._drain(name)))
            for name, owner in owners.items()
        }
        self._alive = set(owners)
        for name, task in self._tasks.items():
            task.add_done_callback(lambda task, name=name: self._ended(name, task))  # type: ignore[misc]

    async def run(self, body: AsyncIterator[bytes]) -> dict[str, str]:
        """Send the body; the staging ids of the owners that have all of it: enough to decide.

        Raises:
            IncompleteBodyError: it is not as long as was declared.
            UnavailableError, StorageFullError: too few owners took it.
        """
        digest = xxh3_128()
        sent = 0
        try:
            async for piece in _pieces(body):
                sent += len(piece)
                digest.update(piece)
                if sent > self._size:
                    break
                await self._send(piece)
            _require_size(sent, self._size)
            await self._send(None)
            return await self._finish(digest.digest())
        except BaseException:
            await asyncio.shield(self.abandon())
            raise

    async def abandon(self) -> None:
        """Let nothing of it stay anywhere."""
        self._alive.clear()
        for name, task in self._tasks.items():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                await forget(self._owners.__getitem__, name, task.result().id)

    async def _drain(self, name: str) -> AsyncIterator[bytes]:
        queue = self._queues[name]
        while (piece := await queue.get()) is not None:
            yield piece

    async def _send(self, piece: bytes | None) -> None:
        """Give a piece to every owner that still takes part."""
        for name in list(self._alive):
            try:
                self._queues[name].put_nowait(piece)
            except asyncio.QueueFull:
                patience = _STALL_SECONDS if self._can_spare(name) else _LAST_SECONDS
                try:
                    async with asyncio.timeout(patience):
                        await self._queues[name].put(piece)
                except TimeoutError:
                    self._drop(name, PeerError(f"{name} took no bytes for {patience:.0f} s"))
        self._require_enough()

    def _ended(self, name: str, task: asyncio.Task[Staged]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._drop(name, error)

    def _drop(self, name: str, error: BaseException) -> None:
        """Go on without an owner."""
        if name not in self._alive:
            return
        self._alive.discard(name)
        self._failures.append(error)
        self._tasks[name].cancel()
        queue = self._queues[name]
        while not queue.empty():  # whoever waits to put is let go
            queue.get_nowait()

    def _can_spare(self, name: str) -> bool:
        """Whether those that take part are enough without this one."""
        return self._electorate.may_write(self._alive - {name})

    def _require_enough(self) -> None:
        if self._electorate.may_write(self._alive):
            return
        full = next((error for error in self._failures if isinstance(error, StorageFullError)), None)
        if full is not None:
            raise full
        raise UnavailableError(
            f"{len(self._alive)} of {len(self._tasks)} owners take the body: too few: "
            + "; ".join(str(error) for error in self._failures)
        )

    async def _finish(self, digest: bytes) -> dict[str, str]:
        """Wait until the bytes are safe with enough of them, and a little for the others."""
        waiting = {self._tasks[name] for name in self._alive}
        patience = _LAST_SECONDS
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            if self._electorate.may_write({name for name in self._alive if self._tasks[name].done()}):
                patience = _STALL_SECONDS
        await asyncio.sleep(0)  # the callbacks of what has just ended
        staged = {}
        for name in list(self._alive):
            task = self._tasks[name]
            if not task.done():
                self._drop(name, PeerError(f"{name} did not finish"))
            elif task.result().digest != digest:
                self._drop(name, PeerError(f"{name} got other bytes than were sent"))
            else:
                staged[name] = task.result().id
        self._require_enough()
        return staged


def _require_size(sent: int, size: int) -> None:
    if sent != size:
        raise IncompleteBodyError(f"the body was declared as {size} bytes, and {sent} came")


async def forget(replica: Callable[[str], Replica], name: str, staged: str) -> None:
    """Tell an owner that staged bytes will not be accepted; they expire in any case."""
    try:
        await replica(name).unstage(staged)
    except (PeerError, StoreError):
        return


async def _pieces(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream in pieces that are worth sending."""
    held: list[bytes] = []
    length = 0
    async for piece in body:
        held.append(bytes(piece))
        length += len(piece)
        if length >= _PIECE:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)
