"""Small bodies, which live in the index: how the bytes of one row of table `small` are written and checked."""

from __future__ import annotations

from typing import Final

from moln_node.store import checksum
from moln_node.store.codec import Compressor, decompress
from moln_node.store.errors import CorruptError

LIMIT: Final = 64 * 1024
"""Bodies up to this size, in bytes, are kept in the index."""

_RAW: Final = b"\0"
_ZSTD: Final = b"\1"


def _identity(body_id: int, size: int) -> bytes:
    """What the checksum covers besides the bytes."""
    return b"small\0%d\0%d" % (body_id, size)


def encode(body_id: int, data: bytes, level: int | None) -> bytes:
    """The row of a small body."""
    frame = Compressor(level).compress(data) if data else None
    content = _RAW + data if frame is None else _ZSTD + frame
    return checksum.seal(content, _identity(body_id, len(data)))


def decode(body_id: int, size: int, row: bytes) -> bytes:
    """The bytes of a small body; CorruptError if they are not those that were written."""
    content = checksum.unseal(row, _identity(body_id, size))
    if content is None:
        raise CorruptError("an object's bytes in the index do not match their checksum: they are not served")
    data = content[1:] if content[:1] == _RAW else decompress(memoryview(content)[1:], size)
    if len(data) != size:
        raise CorruptError(f"an object's bytes in the index are {len(data)} instead of {size}")
    return data
