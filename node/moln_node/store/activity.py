"""What the store has done since it was opened, and what waits in it: plain numbers, for whoever shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import apsw

if TYPE_CHECKING:
    from pathlib import Path

LOG_SUFFIX: Final = "-wal"


@dataclass(frozen=True, slots=True)
class Activity:
    """The store at one moment. What counts up does so since the opening.

    Attributes:
        index_bytes: size of the index's file.
        log_bytes: size of its write-ahead log, which SQLite folds into the index and uses again.
        cache_hits: pages of the index that were found in a connection's cache.
        cache_misses: pages that had to be read.
        commits: transactions that are on the disk.
        steps: steps in them; many share a commit, and its fsync.
        commit_seconds: time that they took, from the first step to the disk.
        waiting_writes: steps that wait for a transaction.
        waiting_reads: queries that wait for a thread.
        garbage: bodies that nothing refers to, and that are still there.
        collected: of such bodies, those that were removed.
    """

    index_bytes: int
    log_bytes: int
    cache_hits: int
    cache_misses: int
    commits: int
    steps: int
    commit_seconds: float
    waiting_writes: int
    waiting_reads: int
    garbage: int
    collected: int


class PageCache:
    """How often a connection found a page in its cache; counted by the thread that uses it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self.hits = 0
        self.misses = 0

    def count(self) -> None:
        """Add what SQLite has counted, and let it begin anew: its own numbers are of 32 bits."""
        self.hits += self._db.status(apsw.SQLITE_DBSTATUS_CACHE_HIT, True)[0]  # noqa: FBT003 (reset)
        self.misses += self._db.status(apsw.SQLITE_DBSTATUS_CACHE_MISS, True)[0]  # noqa: FBT003


def size(path: Path) -> int:
    """A file's size in bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
