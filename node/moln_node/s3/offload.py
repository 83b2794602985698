"""Work on the blocks of one body, off the event loop: digests and signatures of chunks.

Used by `auth.payload` for what clients send and by `digests` for what is copied. Large blocks go to a thread, one after
the other, while the next one is read (hashlib lets the interpreter go on); small ones cost less where they are.
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
    """The work of one body, in its order: at most one block is being worked on."""

    def __init__(self) -> None:
        self._under_way: asyncio.Future[None] | None = None

    async def do(self, work: Callable[[bytes], None], block: bytes) -> None:
        """Begin to work on a block, once the one before is done; raises what the work on that one raised."""
        await self.settle()
        if len(block) < _THREAD_FROM:
            work(block)
        else:
            self._under_way = asyncio.get_running_loop().run_in_executor(_THREADS, work, block)

    async def settle(self) -> None:
        """Wait for what is under way; raises what it raised."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            await under_way
