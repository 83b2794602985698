"""Who gave no answer is not asked again at once: work in the background would wait for it again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_FIRST_REST_SECONDS: Final = 1.0
_LONGEST_REST_SECONDS: Final = 8.0


@dataclass(slots=True)
class _Silent:
    until: float
    rest: float


class Silence:
    """The nodes that gave no answer, and when each is asked again: after a second, then ever later up to eight seconds.

    Attributes:
        ended: how often one of them answered again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._silent: dict[str, _Silent] = {}
        self.ended = 0

    def spare(self, names: Collection[str]) -> tuple[str, ...]:
        """Those that are to be asked now. One that was silent is asked by one caller, not by all at the same time."""
        now = self._clock()
        asked = []
        for name in names:
            silent = self._silent.get(name)
            if silent is None:
                asked.append(name)
            elif silent.until <= now:
                asked.append(name)
                silent.until = now + silent.rest
        return tuple(asked)

    def heard(self, asked: Collection[str], answered: Collection[str]) -> None:
        """Of those that were asked, who answered."""
        now = self._clock()
        for name in asked:
            silent = self._silent.get(name)
            if name not in answered:
                rest = _FIRST_REST_SECONDS if silent is None else min(2 * silent.rest, _LONGEST_REST_SECONDS)
                self._silent[name] = _Silent(now + rest, rest)
            elif silent is not None:
                del self._silent[name]
                self.ended += 1
