"""The watch: probes the disk, the store and the event loop while the node runs, so that health is known when asked.

Started by the process. Writes one small file in the data directory; everything else it reads. `/live` and `/ready`
answer from what it last saw and never wait for a hung disk themselves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from moln_node.peer.metrics import Metrics

_PROBE: Final = ".probe"
_LAG_SECONDS: Final = 0.25
_log = logging.getLogger(__name__)


def write_probe(directory: Path) -> float:
    """Write and fsync one small file, and say how many seconds that took; OSError as the disk has it."""
    begin = time.perf_counter()
    descriptor = os.open(directory / _PROBE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, b"moln\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return time.perf_counter() - begin


class Watch:
    """What was last seen of disk and store.

    Attributes:
        write_error: why the last probe could not write, None if it could.
        store_error: why the last probe could not read from the store, None if it could.
    """

    def __init__(
        self,
        directory: Path,
        read_store: Callable[[], Awaitable[object]],
        metrics: Metrics,
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._read_store = read_store
        self._metrics = metrics
        self._every = every
        self._clock = clock
        self._answered = clock()
        self.write_error: OSError | None = None
        self.store_error: Exception | None = None

    @property
    def silent_seconds(self) -> float:
        """How long ago disk and store last answered, be it with an error."""
        return self._clock() - self._answered

    async def probe(self) -> None:
        """Ask disk and store once; returns when both have answered, which on a hung disk is never."""
        try:
            seconds = await asyncio.to_thread(write_probe, self._directory)
        except OSError as error:
            self._changed("disk", self.write_error, error)
            self.write_error = error
        else:
            self._metrics.fsync.observe(seconds)
            self._changed("disk", self.write_error, None)
            self.write_error = None
        try:
            await self._read_store()
        except Exception as error:  # noqa: BLE001 (whatever it is, the store does not answer: that is the finding)
            self._changed("store", self.store_error, error)
            self.store_error = error
        else:
            self._changed("store", self.store_error, None)
            self.store_error = None
        self._answered = self._clock()

    @staticmethod
    def _changed(part: str, before: Exception | None, now: Exception | None) -> None:
        """Say once that a part fails or answers again, not at every probe."""
        if now is not None and before is None:
            _log.error("the %s does not answer: %s", part, now)
        elif now is None and before is not None:
            _log.info("the %s answers again", part)

    async def run(self) -> None:
        """Probe for ever; ended by cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._probe_for_ever())
            group.create_task(self._measure_lag())

    async def _probe_for_ever(self) -> None:
        while True:
            await self.probe()
            await asyncio.sleep(self._every)

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_SECONDS
            await asyncio.sleep(_LAG_SECONDS)
            self._metrics.lag.observe(max(0.0, loop.time() - due))
