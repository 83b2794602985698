"""How the C library hands out memory, told to it once, before any thread is there.

Bodies pass through blocks of up to a MiB that threads take and let go all the time. As it comes, glibc gives every
thread an arena of its own and returns freed blocks to the kernel, so that each block is mapped, zeroed and faulted in
anew (docs/benchmarks.md). See mallopt(3).
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MIB: Final = 1024 * 1024
_SETTINGS: Final = (
    (_M_ARENA_MAX, 1),  # Python's own lock lets few threads ask at a time anyway
    (_M_MMAP_THRESHOLD, 4 * _MIB),  # blocks below this are kept for the next who asks
    (_M_TRIM_THRESHOLD, 64 * _MIB),  # free memory at the end beyond this goes back to the kernel
)


def keep_blocks() -> None:
    """Let blocks be used again without the kernel; nothing is done where the C library has no such settings."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for name, value in _SETTINGS:
        mallopt(name, value)
