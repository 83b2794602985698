"""How an encrypted body looks: a header with a salt, then frames of equal length, each AES-256-GCM. Pure.

A body is a whole object, or one part of an upload. Its key is made for it alone, from the object's data key, the salt
and the part's number; a frame's nonce is its position and whether it is the last. So a frame that was moved, left out,
or taken from another body, part or object does not decrypt, nor does a body that was cut off (the construction is
STREAM: Hoang, Reyhanitabar, Rogaway, Vizár 2015). Any range is read by decrypting only the frames that it touches.
"""

from __future__ import annotations

import os
import struct
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from moln_node.store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

FRAME: Final = 64 * 1024
"""Plain bytes of a frame; the last one of a body may be shorter, and is empty where the body is."""

_MAGIC: Final = b"molnaes1"
_SALT_BYTES: Final = 24
HEADER_BYTES: Final = len(_MAGIC) + _SALT_BYTES
_TAG_BYTES: Final = 16
_SEALED_FRAME: Final = FRAME + _TAG_BYTES
_KEY_BYTES: Final = 32
_NONCE: Final = struct.Struct(">QI")  # position, and 1 for the last frame of a body


def sealed_size(size: int) -> int:
    """How many bytes a body of `size` plain bytes has when it is encrypted."""
    return HEADER_BYTES + size + _TAG_BYTES * max(1, -(-size // FRAME))


async def seal(blocks: AsyncIterator[bytes], data_key: bytes, part: int) -> AsyncIterator[bytes]:
    """Encrypt a body as it passes; `part` is its number in an upload, 0 where it is a whole object."""
    header = _MAGIC + os.urandom(_SALT_BYTES)
    cipher = _cipher(header, data_key, part)
    held = bytearray()
    position = 0
    yield header
    async for block in blocks:
        held += block
        frames = (len(held) - 1) // FRAME  # one byte at least stays: the last frame is known only at the end
        if frames > 0:
            view = memoryview(held)
            sealed = [
                cipher.encrypt(_NONCE.pack(position + frame, 0), view[frame * FRAME : (frame + 1) * FRAME], None)
                for frame in range(frames)
            ]
            view.release()
            del held[: frames * FRAME]
            position += frames
            yield b"".join(sealed)
    yield cipher.encrypt(_NONCE.pack(position, 1), bytes(held), None)


async def unseal(
    read: Callable[[int, int], AsyncIterator[bytes]], base: int, size: int, data_key: bytes, part: int, span: range
) -> AsyncIterator[bytes]:
    """The plain bytes `span` of a body of `size` plain bytes, which `read` gives from its byte `base` on.

    Raises:
        CorruptError: the bytes are not those that were encrypted for this body, in this place.
    """
    if not span:
        return
    first, last, end = span.start // FRAME, (span.stop - 1) // FRAME, max(0, size - 1) // FRAME
    start = base + HEADER_BYTES + first * _SEALED_FRAME
    stop = base + min(HEADER_BYTES + (last + 1) * _SEALED_FRAME, sealed_size(size))
    header = b"" if first == 0 else b"".join([block async for block in read(base, base + HEADER_BYTES)])
    cipher = None if first == 0 else _cipher(header, data_key, part)
    held = bytearray()
    position = first
    async with aclosing(read(base if first == 0 else start, stop)) as blocks:  # type: ignore[type-var]
        async for block in blocks:
            held += block
            if cipher is None:
                if len(held) < HEADER_BYTES:
                    continue
                cipher = _cipher(bytes(held[:HEADER_BYTES]), data_key, part)
                del held[:HEADER_BYTES]
            plain = bytearray()
            while position <= last:
                length = _SEALED_FRAME if position < end else size - end * FRAME + _TAG_BYTES
                if len(held) < length:
                    break
                plain += _open(cipher, position, held[:length], last=position == end)
                del held[:length]
                position += 1
            if plain:
                opened = position * FRAME if position <= end else size
                low = max(span.start - (opened - len(plain)), 0)
                high = len(plain) - max(opened - span.stop, 0)
                yield bytes(plain[low:high])
    if position <= last:
        raise CorruptError("an encrypted body ends before its last frame")


def _cipher(header: bytes, data_key: bytes, part: int) -> AESGCM:
    """The cipher of one body."""
    if not header.startswith(_MAGIC) or len(header) != HEADER_BYTES:
        raise CorruptError("a body that should be encrypted does not begin as one")
    info = b"moln body" + part.to_bytes(4, "big")
    return AESGCM(HKDF(SHA256(), _KEY_BYTES, header[len(_MAGIC) :], info).derive(data_key))


def _open(cipher: AESGCM, position: int, frame: bytearray, *, last: bool) -> bytes:
    try:
        return cipher.decrypt(_NONCE.pack(position, int(last)), frame, None)
    except InvalidTag:
        raise CorruptError(f"frame {position} of an encrypted body is not what was encrypted there") from None
