"""Work on the bytes of one body, off the event loop: digests, and signatures of chunks.

Used by `auth.payload` for what clients send and by `digests` for what is copied. A lot of bytes at a time goes to a
thread, while the next ones are read (hashlib lets the interpreter go on); a few cost less where they are.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_THREAD_FROM: Final = 64 * 1024
_THREADS: Final = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="digest")


class Offload:
    """The work of one body, in its order: at most one at a time is under way."""

    def __init__(self) -> None:
        self._under_way: asyncio.Future[None] | None = None

    async def do(self, work: Callable[[], None], size: int) -> None:
        """Begin a work on `size` bytes, once the one before is done; raises what that one raised."""
        await self.settle()
        if size < _THREAD_FROM:
            work()
        else:
            self._under_way = asyncio.get_running_loop().run_in_executor(_THREADS, work)

    async def settle(self) -> None:
        """Wait for what is under way; raises what it raised."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            await under_way
