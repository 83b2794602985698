"""What the store's threads share in memory: the buckets as last committed, and which bodies are in use."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moln_node.store.transaction import BucketRow


class Pins:
    """Bodies that somebody reads, or means to refer to: their files stay, whatever is dropped meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[int] = Counter()

    def add(self, body_ids: Iterable[int]) -> None:
        """Pin each once more."""
        with self._lock:
            for body_id in body_ids:
                self._counts[body_id] += 1

    def remove(self, body_ids: Iterable[int]) -> None:
        """Take back one pin of each."""
        with self._lock:
            for body_id in body_ids:
                self._counts[body_id] -= 1
                if self._counts[body_id] <= 0:
                    del self._counts[body_id]

    def free(self, body_ids: Iterable[int]) -> list[int]:
        """Those that nobody has pinned."""
        with self._lock:
            return [body_id for body_id in body_ids if body_id not in self._counts]


@dataclass(frozen=True, slots=True)
class Progress:
    """What every commit keeps, so that nothing is used twice after a crash and nothing unfinished is missed.

    Attributes:
        newest: the newest version made or seen; None before the first.
        mark: no body below this id was under way.
    """

    newest: Version | None
    mark: int

    def to_bytes(self) -> bytes:
        """As the index keeps it: the mark's eight bytes, then the version's twelve, where there is one."""
        return self.mark.to_bytes(8) + (b"" if self.newest is None else self.newest.to_bytes())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Progress:
        """What `to_bytes` wrote."""
        return cls(Version.from_bytes(raw[8:]) if raw[8:] else None, int.from_bytes(raw[:8]))


@dataclass(slots=True)
class State:
    """Replaced as a whole by the writing lane after a commit; read by everybody."""

    buckets: Mapping[str, BucketRow]
    kept: Progress
    """How far the index knows that the store has come."""
    pins: Pins = field(default_factory=Pins)
