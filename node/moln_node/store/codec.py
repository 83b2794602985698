"""Compression of one block, where it pays."""

from __future__ import annotations

from typing import Final

import zstandard

from moln_node.store.errors import CorruptError

_WORTHWHILE: Final = 0.95  # a block that does not shrink below this share is kept as it is
_PATIENCE: Final = 4  # after so many blocks in a row that did not pay, only every so many-th is tried


class Compressor:
    """Compresses the blocks of one body, and stops trying where nothing shrinks. Used by one thread at a time."""

    def __init__(self, level: int | None) -> None:
        self._zstd = None if level is None else zstandard.ZstdCompressor(level=level, write_content_size=True)
        self._failures = 0
        self._skip = 0

    def compress(self, block: bytes | bytearray | memoryview) -> bytes | None:
        """The block as a zstd frame; None where it is better kept as it is."""
        if self._zstd is None:
            return None
        if self._skip:
            self._skip -= 1
            return None
        frame = self._zstd.compress(block)
        if len(frame) < len(block) * _WORTHWHILE:
            self._failures = 0
            return frame
        self._failures += 1
        if self._failures >= _PATIENCE:
            self._skip = _PATIENCE
        return None


def decompress(frame: bytes | memoryview, size: int) -> bytes:
    """The block of `size` bytes that was compressed; CorruptError if the frame holds anything else."""
    try:
        block = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise CorruptError(f"a compressed block can't be read: {error}") from error
    if len(block) != size:
        raise CorruptError(f"a compressed block holds {len(block)} bytes instead of {size}")
    return block
