"""Tending the work in the background: no job of a node may end unseen, and the others with it or without it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_REST_SECONDS: Final = 1.0
_LONGEST_REST_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


async def tend(name: str, job: Callable[[], Awaitable[None]]) -> None:
    """Do a job that goes on until it is cancelled, or returns because the store is closed.

    Where it fails, which is a defect, that is logged, and it is begun again: at once, then ever later up to a minute.
    """
    loop = asyncio.get_running_loop()
    rest = _FIRST_REST_SECONDS
    while True:
        begun = loop.time()
        try:
            await job()
        except Exception:  # noqa: BLE001 (whatever it is: the job has to go on)
            if loop.time() - begun > _LONGEST_REST_SECONDS:
                rest = _FIRST_REST_SECONDS
            _log.exception("%s failed: it begins anew in %.0f s", name, rest)
            await asyncio.sleep(rest)
            rest = min(2 * rest, _LONGEST_REST_SECONDS)
        else:
            return
