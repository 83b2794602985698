"""What travels between nodes is checked where it arrives: TCP's 16 bits let one error in 65,536 through.

A message carries the digest of its bytes in a header. Bytes of bodies travel in *frames*, each followed by its digest,
so that whoever reads them passes on, or writes down, nothing that was changed on the way. A release that knows neither
leaves the headers out, and is not checked. Digests are xxh3, of 64 bits: they find errors, not forgers (those are TLS's
business).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from xxhash import xxh3_64, xxh3_64_digest, xxh3_64_hexdigest

from moln_node.cluster.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from aiohttp import StreamReader

DIGEST_HEADER: Final = "Moln-Digest"
FRAMES_HEADER: Final = "Moln-Frames"
"""Sent by who understands frames, and by who answers in them."""
FRAMES: Final = "xxh3-64"
_FRAME: Final = 256 * 1024  # bytes of the body in each frame but the last
_DIGEST: Final = 8  # bytes
_log = logging.getLogger(__name__)


def signed(data: bytes, epoch: int = 0) -> dict[str, str]:
    """The header that a message carries; the epoch is that of a call that is let in by it, and is checked with it."""
    return {DIGEST_HEADER: xxh3_64_hexdigest(data, epoch)}


def is_same(data: bytes, headers: Mapping[str, str], epoch: int = 0) -> bool:
    """Whether the bytes of a message that came with these headers are those that were sent, as far as they say it."""
    return headers.get(DIGEST_HEADER, "") in {"", xxh3_64_hexdigest(data, epoch)}


def changed(sender: str) -> PeerError:
    """What to raise where something is not as it was sent: told of, since it comes of hardware that is bad."""
    _log.error("what came from %s was changed on the way: look at memory and network of both machines", sender)
    return PeerError(f"what came from {sender} was changed on the way")


def framed_length(length: int) -> int:
    """How many bytes a body of that many takes in frames."""
    return length + _DIGEST * -(-length // _FRAME)


async def framed(blocks: AsyncIterable[bytes]) -> AsyncGenerator[bytes | memoryview, None]:
    """The bytes of these blocks, in frames."""
    digest, left = xxh3_64(), _FRAME
    async for block in blocks:
        rest = memoryview(block)
        while rest:
            piece, rest = rest[:left], rest[left:]
            digest.update(piece)
            yield piece
            left -= len(piece)
            if not left:
                yield digest.digest()
                digest, left = xxh3_64(), _FRAME
    if left < _FRAME:
        yield digest.digest()


async def unframed(stream: StreamReader, length: int, sender: str) -> AsyncGenerator[bytes, None]:
    """The bytes of a body of that length that comes in frames, each frame once it is known to be as it was sent.

    Raises:
        PeerError: one was changed on the way, or is not all there.
    """
    while length:
        try:
            data = await stream.readexactly(min(_FRAME, length))
            digest = await stream.readexactly(_DIGEST)
        except asyncio.IncompleteReadError:
            raise PeerError(f"{sender} broke off, {length} bytes before the end") from None
        if xxh3_64_digest(data) != digest:
            raise changed(sender)
        length -= len(data)
        yield data
