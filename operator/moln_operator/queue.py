"""The work queue: which clouds to look at, each at most once at a time and never lost.

A cloud asked for many times is looked at once; one asked for while it is being looked at is looked at once more. After
an error it comes again after a growing pause.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moln_operator.kube.inventory import CloudKey

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 60.0


class WorkQueue:
    """Clouds that wait to be reconciled."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[CloudKey] = asyncio.Queue()
        self._waiting: set[CloudKey] = set()
        self._working: set[CloudKey] = set()
        self._again: set[CloudKey] = set()
        self._timers: dict[CloudKey, asyncio.TimerHandle] = {}
        self._failures: dict[CloudKey, int] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, key: CloudKey) -> None:
        """Ask for `key` now."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: CloudKey, seconds: float) -> None:
        """Ask for `key` in `seconds`, unless it is asked for earlier."""
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_at(due, self.add, key)

    def retry(self, key: CloudKey) -> float:
        """Ask for `key` after a pause that doubles with each failure in a row; answers the pause in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = min(FIRST_PAUSE * 2.0 ** min(failures, 16), LONGEST_PAUSE)
        self.add_after(key, pause)
        return pause

    def succeeded(self, key: CloudKey) -> None:
        """The last look at `key` went well: the next failure starts with the short pause again."""
        self._failures.pop(key, None)

    async def get(self) -> CloudKey:
        """The next cloud to look at; `done` must follow."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: CloudKey) -> None:
        """The look at `key` is over."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """Let go of every timer."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
