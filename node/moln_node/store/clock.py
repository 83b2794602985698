"""The store's clock: makes versions that only ever grow, also when the wall clock is set back or the node restarts."""

from __future__ import annotations

import time

from moln_spec.version import Version


def wall_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Clock:
    """A hybrid logical clock. Its newest version is kept by the index, in the transaction that uses it."""

    def __init__(self, node: int, newest: Version | None) -> None:
        self._node = node
        self.newest = newest
        """The newest version made or seen; None before the first."""

    def next(self) -> Version:
        """A version newer than any before."""
        self.newest = Version.after(self.newest, wall_ms(), self._node)
        return self.newest

    def saw(self, version: Version) -> None:
        """Stay ahead of a version that another node made."""
        if self.newest is None or version > self.newest:
            self.newest = version
