"""The reading lanes' worker: answers queries of the index, each as of now."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from moln_node.store import database
from moln_node.store.activity import PageCache
from moln_node.store.errors import IndexDamagedError

if TYPE_CHECKING:
    from collections.abc import Callable

    import apsw

    from moln_node.store.lane import Job


class Reads:
    """Answers queries on one connection. Every statement sees all that was committed before it began."""

    def __init__(self, connection: apsw.Connection, damaged: Callable[[IndexDamagedError], None]) -> None:
        """`damaged` is told, on the lane, of each bad page that is met."""
        self._db = connection
        self._damaged = damaged
        self.cache = PageCache(connection)

    def work(self, jobs: list[Job[apsw.Connection, object]]) -> None:
        """Answer every query that somebody still waits for."""
        for job in jobs:
            try:
                with database.naming_errors():
                    job.result = job.run(self._db)
            except BaseException as error:  # noqa: BLE001 (the lane's thread must outlive any query)
                traceback.clear_frames(error.__traceback__)  # a cursor left open there would keep an old snapshot
                job.error = error
                if isinstance(error, IndexDamagedError):
                    self._damaged(error)
        self.cache.count()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()
