"""Asking as few owners as can decide, and others only where these fail or are late.

For reads: an answer that is not needed costs two nodes as much as one that is. Which owners are asked is no part of the
protocol, any quorum will do.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, TypeVar

from moln_node.cluster.fan import Fan

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from moln_node.cluster.electorate import Electorate
    from moln_node.cluster.fan import Failure

T = TypeVar("T")

_LEAST_PATIENCE: Final = 0.05  # seconds
_MOST_PATIENCE: Final = 1.0
_TIMES_USUAL: Final = 4
_WEIGHT: Final = 1 / 16
_LATE_SECONDS: Final = 2.0


class Promptness:
    """How soon other nodes answer, as this one has lately seen."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._usual = 0.0  # seconds: a moving mean
        self._late: dict[str, float] = {}  # until when they are asked last, on the loop's clock

    @property
    def patience(self) -> float:
        """Seconds after which an answer is late: several times what one takes now, so a busy cloud asks no more."""
        return min(max(_LEAST_PATIENCE, _TIMES_USUAL * self._usual), _MOST_PATIENCE)

    def order(self, names: Iterable[str]) -> list[str]:
        """In which order to ask: this node, then the others by lot, and at the end those that were late."""
        now = asyncio.get_running_loop().time()
        lots = {name: (self._late.get(name, 0.0) > now, name != self._me, random.random()) for name in names}  # noqa: S311 (no secret)
        return sorted(lots, key=lots.__getitem__)

    def answered(self, name: str, seconds: float) -> None:
        """A node answered in so many seconds."""
        if name != self._me:
            self._usual += (seconds - self._usual) * _WEIGHT

    def late(self, name: str) -> None:
        """A node failed, or has not answered in time."""
        self._late[name] = asyncio.get_running_loop().time() + _LATE_SECONDS
        self.answered(name, self.patience)


class Few(Fan[T]):
    """Calls to so many of the readers that their answers decide, and to more where one of these is late or fails."""

    def __init__(
        self, electorate: Electorate, call: Callable[[str], Coroutine[Any, Any, T]], promptness: Promptness
    ) -> None:
        super().__init__({})
        self._electorate = electorate
        self._call = call
        self._promptness = promptness
        self._left = promptness.order(electorate.readers)
        self._counted_on: set[str] = set()
        self._begun: dict[str, float] = {}

    async def next(self, deadline: float) -> tuple[str, T | Failure] | None:
        """See `Fan.next`."""
        loop = asyncio.get_running_loop()
        while True:
            while self._left and not self._electorate.settled(self._counted_on):
                self._ask(self._left.pop(0), loop.time())
            soon = min(deadline, loop.time() + self._promptness.patience) if self._left else deadline
            found = await super().next(soon)
            if found is not None:
                name, answer = found
                if isinstance(answer, Exception):
                    self._give_up(name)
                else:
                    self._promptness.answered(name, loop.time() - self._begun[name])
                return found
            if not self._left or not self.waiting or loop.time() >= deadline:
                return None
            for name in self.names():
                self._give_up(name)

    def _ask(self, name: str, now: float) -> None:
        self.add(name, self._call(name))
        self._counted_on.add(name)
        self._begun[name] = now

    def _give_up(self, name: str) -> None:
        """Count on a node no more; its answer is welcome if it comes."""
        if name in self._counted_on:
            self._counted_on.discard(name)
            self._promptness.late(name)
