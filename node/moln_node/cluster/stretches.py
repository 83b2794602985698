"""A register as several nodes have it, a stretch of its versions at a time: there may be more than fit in a message.

Used by `repair` and `moves`. A stretch reaches from the newest versions down as far as the shortest of the nodes' pages
(`scan`): nothing within it is left out. Slots and versions are one but for the null slot, whose row may be of another
version on each node, and so in another stretch: where there are several, that slot is the last one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Ask, Scan
from moln_node.store.documents import revert
from moln_node.store.errors import StoreError
from moln_node.store.registers import NULL_SLOT, KeyState
from moln_node.store.scan import Page, Query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from moln_node.cluster.members import Obeyed
    from moln_node.cluster.replica import LocalReplica
    from moln_node.store.registers import Register, Row

T = TypeVar("T")

ROWS: Final = 1000
"""How many rows a page has at most. Each is some hundred bytes, and seldom some thousands."""
_LENGTH: Final = 12


class Stretches:
    """Goes down a register: `read` tells a stretch, as often as it is called, and `go_on` steps to the next.

    Attributes:
        over: there is no further one.
        silent: the nodes that at some time gave no answer.
    """

    def __init__(self, now: Obeyed, register: Register, names: Iterable[str], own: LocalReplica | None = None) -> None:
        """`names` are asked by the map of `now`; with `own` this node tells what its disk has, if it counts or not."""
        self._now = now
        self._register = register
        self._names = tuple(names)
        self._own = own
        self._start = b""
        self._end: bytes | None = None
        self._null_is_left = self._at_null = False
        self.over = False
        self.silent: set[str] = set()

    def go_on(self) -> None:
        """Step to the next stretch, below the one that was read."""
        if self._end is not None:
            self._start, self._end = self._end, None
        elif self._null_is_left and not self._at_null:
            self._at_null = True
        else:
            self.over = True

    async def read(self) -> dict[str, KeyState]:
        """What each node has of this stretch, of those that say it. It never grows while it is read again."""
        if self._at_null:
            return await self._answers(KeyState, self._ask)
        pages = await self._answers(Page, self._scan)
        reached = [page.end[1] for page in pages.values() if page.end is not None]
        self._end = min(reached if self._end is None else (*reached, self._end), default=None)
        return {name: KeyState(rows=self._rows(page)) for name, page in pages.items()}

    def _rows(self, page: Page) -> tuple[Row, ...]:
        """The page's rows in this stretch."""
        rows = tuple(entry.row for entry in page.entries)
        if self._end is not None:
            oldest = revert(self._end[:_LENGTH]).to_bytes()
            rows = tuple(row for row in rows if row.version >= oldest)
        elif not self._start:
            return rows
        real = tuple(row for row in rows if row.slot != NULL_SLOT)
        self._null_is_left = self._null_is_left or len(real) < len(rows)
        return real

    async def _answers(self, kind: type[T], ask: Callable[[str], Awaitable[T]]) -> dict[str, T]:
        answers = await asyncio.gather(*map(ask, self._names), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, PeerError | StoreError):
                raise answer
        told = {name: answer for name, answer in zip(self._names, answers, strict=True) if isinstance(answer, kind)}
        self.silent.update(set(self._names) - told.keys())
        return told

    async def _ask(self, name: str) -> KeyState:
        message = Ask(self._register, NULL_SLOT)
        if self._own is not None and name == self._now.me:
            return await self._own.state(message)
        return await self._now.replica(name).ask(message)

    async def _scan(self, name: str) -> Page:
        key = self._register.key.encode()
        query = Query((key, self._start), key + b"\0", ROWS, versions=True, graves=True)
        message = Scan(self._register.space, query, self._register.bucket, self._register.incarnation)
        if self._own is not None and name == self._now.me:
            return await self._own.page(message)
        return await self._now.replica(name).scan(message)
