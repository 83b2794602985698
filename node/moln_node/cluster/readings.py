"""An object opened for reading, wherever its bytes are: beside this node if they can be, else at another owner.

Where one copy breaks off, or is found damaged, the next goes on at the byte where it stopped.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.store.errors import CorruptError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from moln_node.cluster.members import Members
    from moln_node.cluster.sight import Sight
    from moln_node.store.model import Record
    from moln_node.store.reading import FileBytes, Held
    from moln_node.store.registers import Register, Row

_SMALL: Final = 256 * 1024
_TRIES: Final = 8
P = TypeVar("P", bound="bytes | FileBytes")


@dataclass(frozen=True, slots=True)
class Located:
    """A version that was found: its record, who holds it, and its bytes where this node holds them."""

    register: Register
    row: Row
    record: Record
    holders: tuple[str, ...]
    held: Held | None = None


class CloudReading:
    """An async context manager, and the `Reading` that it gives. `locate` finds the version; it may be asked again."""

    def __init__(self, members: Members, locate: Callable[[Sight], Awaitable[Located]]) -> None:
        self._members = members
        self._store = members.own.store
        self._locate = locate
        self._sight = members.own.sight()
        self._small: bytes | None = None
        self._found: Located | None = None

    async def __aenter__(self) -> Self:
        try:
            for _ in range(_TRIES):
                self._found = await self._locate(self._sight)
                if await self._hold(self._found):
                    break
        except BaseException:
            self._sight.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sight.close()

    async def _hold(self, found: Located) -> bool:
        """Keep the bytes readable: beside this node, or in memory where they are few. False: they were replaced."""
        if found.record.stored_size == 0 or found.held is not None:
            return True
        if self._members.sole(found.register) is not None:
            return False
        if found.record.stored_size > _SMALL:
            return True
        try:
            self._small = b"".join([piece async for piece in self._from_owners(found, 0, found.record.stored_size)])
        except StoreError:
            return False
        return True

    @property
    def record(self) -> Record:
        """What was opened."""
        return self._opened().record

    def _opened(self) -> Located:
        if self._found is None:
            raise RuntimeError("the object is not open: use `async with`")
        return self._found

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """See `Reading.read`."""
        return self._pieces(start, end, self._store.read)

    def pieces(self, start: int, end: int) -> AsyncIterator[bytes | FileBytes]:
        """See `Reading.pieces`."""
        return self._pieces(start, end, self._store.pieces)

    async def _pieces(
        self, start: int, end: int, held_here: Callable[[Held, int, int], AsyncIterator[P]]
    ) -> AsyncIterator[bytes | P]:
        found = self._opened()
        end = min(end, found.record.stored_size)
        if start >= end:
            return
        if self._small is not None:
            yield self._small[start:end]
            return
        position = start
        if found.held is not None:
            try:
                async for here in held_here(found.held, position, end):
                    position += len(here)
                    yield here
            except CorruptError as error:
                if self._members.sole(found.register) is not None:
                    raise
                self._members.own.damaged(found.register, found.row, str(error))
            if position >= end:
                return
        async for piece in self._from_owners(found, position, end):
            yield piece

    async def _from_owners(self, found: Located, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from whoever has them, one after the other."""
        position = start
        owners = self._members.now.electorate(found.register).owners
        others = [name for name in owners if name not in found.holders]
        reasons: list[str] = []
        for name in (*found.holders, *others):
            if name == self._members.me and found.held is not None:
                continue
            try:
                async with aclosing(
                    self._members.replica(name).body(found.register, found.row, position, end)
                ) as pieces:
                    async for piece in pieces:
                        position += len(piece)
                        yield piece
                if position >= end:
                    return
            except (PeerError, StoreError) as error:
                reasons.append(str(error))
        raise UnavailableError("no copy of the object can be read to its end now: " + "; ".join(reasons))
