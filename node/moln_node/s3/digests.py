"""The digests of a body, taken while it streams from the client to the store.

`writing`, `multipart` and `copy` put a `BodyDigest` between the two. Small blocks are hashed where they are; for large
ones a thread hashes while the store takes the block and the next one is read (hashlib lets the interpreter go on).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from moln_node.s3 import checksums
from moln_node.s3.errors import S3Error
from moln_node.store.model import Checksum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.s3.checksums import Algorithm, Hasher

_THREAD_BYTES: Final = 64 * 1024
_MD5_BYTES: Final = 16
_THREADS: Final = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="digest")


def content_md5(value: str | None) -> bytes | None:
    """The digest in a Content-MD5 header; InvalidDigest if it is none."""
    if value is None:
        return None
    try:
        raw = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _MD5_BYTES:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.", ContentMD5=value)
    return raw


class BodyDigest:
    """MD5 and one additional checksum of a body that passes through `passing`; read them when it has passed."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._extra: Hasher = algorithm.new()

    async def passing(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the blocks as they are, and take them into the digests in their order."""
        loop = asyncio.get_running_loop()
        hashing: asyncio.Future[None] | None = None
        async for block in blocks:
            if hashing is not None:
                await hashing
                hashing = None
            if len(block) >= _THREAD_BYTES:
                hashing = loop.run_in_executor(_THREADS, self._take, block)
            else:
                self._take(block)
            yield block
        if hashing is not None:
            await hashing

    def _take(self, block: bytes) -> None:
        self._md5.update(block)
        self._extra.update(block)

    @property
    def md5(self) -> bytes:
        """The MD5 of what has passed."""
        return self._md5.digest()

    @property
    def etag(self) -> str:
        """The MD5 as S3 shows it."""
        return self._md5.hexdigest()

    @property
    def checksum(self) -> Checksum:
        """The additional checksum of what has passed."""
        return Checksum(self._algorithm.name, checksums.encode(self._extra.digest()))

    def check_md5(self, expected: bytes | None) -> None:
        """Raise BadDigest if the client promised another MD5."""
        if expected is not None and expected != self.md5:
            raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")
