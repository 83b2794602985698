"""The digests of a body, taken while it streams from the client to the store.

`writing` gives its `take` to the payload's stream, `multipart` and `copy` put it between a source and the store.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final

from moln_node.s3 import checksums
from moln_node.s3.errors import S3Error
from moln_node.s3.offload import Offload
from moln_node.store.model import Checksum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.s3.checksums import Algorithm, Hasher

_MD5_BYTES: Final = 16


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
    """MD5 and one additional checksum of a body that goes by block by block; read them when it has passed."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._extra: Hasher = algorithm.new()

    def take(self, block: bytes) -> None:
        """Take the next bytes; may run in a thread, one after the other."""
        self._md5.update(block)
        self._extra.update(block)

    async def passing(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the blocks of a copy as they are, and take them in their order."""
        offload = Offload()
        async for block in blocks:
            await offload.do(partial(self.take, block), len(block))
            yield block
        await offload.settle()

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
