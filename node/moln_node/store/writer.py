"""The writing lane's worker: group commit. Many steps, one transaction, one fsync.

A step that refuses (StoreError before its first change) fails alone. If anything else goes wrong the transaction is
rolled back and every step is done again in one of its own, so that only the faulty one fails. But where the disk
refuses the commit itself it is over: after a failed fsync the next one may well succeed, and says nothing of what the
first one should have brought to the disk. So nothing more is written until the store is opened anew.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import apsw

from moln_node.store import database
from moln_node.store.activity import PageCache
from moln_node.store.errors import DiskFailedError, IndexDamagedError, StoreError
from moln_node.store.state import Progress
from moln_node.store.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_node.store.clock import Clock
    from moln_node.store.lane import Job
    from moln_node.store.state import State
    from moln_node.store.transaction import Effects


class _TornStepError(Exception):
    """A step raised after it had changed something: its changes must not ride with the others'."""


class GroupCommit:
    """Does steps in transactions, and applies their effects in memory after the commit.

    Attributes:
        cache: how often the index's pages were in memory.
        commits: transactions that are on the disk.
        steps: steps in them.
        seconds: time that they took.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        clock: Clock,
        state: State,
        mark: Callable[[], int],
        committed: Callable[[Effects], None],
        failed: Callable[[], None],
        damaged: Callable[[IndexDamagedError], None],
    ) -> None:
        self._db = connection
        self._clock = clock
        self._state = state
        self._mark = mark
        self._committed = committed
        self._failed = failed
        self._damaged = damaged
        self._broken: DiskFailedError | None = None
        self.cache = PageCache(connection)
        self.commits = 0
        self.steps = 0
        self.seconds = 0.0

    def work(self, jobs: list[Job[Transaction, object]]) -> None:
        """Do every job; each has its result or its error afterwards, and the results are on the disk."""
        wanted = [job for job in jobs if not _given_up(job)]
        if self._broken is not None:
            _fail(wanted, self._broken)
        elif not self._attempt(wanted, alone=len(wanted) == 1):
            for job in wanted:
                self._attempt([job], alone=True)
        self.cache.count()

    @property
    def broken(self) -> DiskFailedError | None:
        """The disk refused a commit, and may have kept it all the same."""
        return self._broken

    def close(self) -> None:
        """Close the connection; SQLite then folds the log into the database."""
        self._db.close()

    def _attempt(self, jobs: list[Job[Transaction, object]], *, alone: bool) -> bool:
        """One transaction of all these jobs; False if it was rolled back and is to be tried one by one."""
        transaction = Transaction(self._db, self._clock, self._state.buckets)
        began = time.perf_counter()
        try:
            with database.naming_errors():
                self._db.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._run(transaction, job)
                progress = self._keep_accounts(transaction)
                self._commit()
        except BaseException as error:  # noqa: BLE001 (the lane's thread must outlive any step)
            with suppress(apsw.Error):  # SQLite may have rolled back by itself
                self._db.execute("ROLLBACK")
            if not alone and self._broken is None:
                return False
            if isinstance(error, IndexDamagedError):
                self._damaged(error)
            cause = error.__cause__ if isinstance(error, _TornStepError) else error
            _fail(jobs, self._broken or cause or error)
            return True
        self.commits += 1
        self.steps += len(jobs)
        self.seconds += time.perf_counter() - began
        self._state.buckets = transaction.buckets
        self._state.kept = progress
        self._committed(transaction.effects)
        return True

    def _run(self, transaction: Transaction, job: Job[Transaction, object]) -> None:
        """One step; a refusal is its answer."""
        before = self._db.total_changes()
        job.error = None
        try:
            job.result = job.run(transaction)
        except StoreError as error:
            if self._db.total_changes() != before:
                raise _TornStepError from error
            job.error = error

    def _keep_accounts(self, transaction: Transaction) -> Progress:
        """Write what follows from the steps together: usage, the clock that must not go back, and the bodies' mark."""
        for (bucket_id, name), sums in transaction.effects.usage.items():
            if any(sums):
                self._db.execute(
                    "INSERT INTO usage VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
                    " objects = objects + ?3, bytes = bytes + ?4",
                    (bucket_id, name, *sums),
                )
        progress = Progress(self._clock.newest, self._mark())
        if progress != self._state.kept:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('progress', ?)", (progress.to_bytes(),))
        return progress

    def _commit(self) -> None:
        """Commit. Should the disk refuse, nobody can say what it kept: take no more writes until a restart."""
        try:
            self._db.execute("COMMIT")
        except apsw.IOError as error:
            self._broken = DiskFailedError(f"the disk refused a commit ({error}): nothing more is written to it")
            self._failed()
            raise self._broken from error


def _given_up(job: Job[Transaction, object]) -> bool:
    """Nobody waits for it any more, and it has not begun."""
    if job.future.cancelled():
        job.error = RuntimeError("cancelled before it began")
        return True
    return False


def _fail(jobs: list[Job[Transaction, object]], error: BaseException) -> None:
    for job in jobs:
        job.error = error
