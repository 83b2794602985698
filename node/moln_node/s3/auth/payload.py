"""The body of a request as the client meant it: unframed, and checked to be what was signed and declared.

Blocks pass on while they are being checked; a body that turns out wrong raises S3Error at the latest after its last
byte, so whoever writes must make nothing visible before the iterator has ended. Memory is bounded by `BLOCK`, whatever
the size; reading stops when the consumer does.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import partial
from typing import TYPE_CHECKING

from moln_node.s3.auth import sigv4
from moln_node.s3.auth.source import BLOCK
from moln_node.s3.errors import S3Error
from moln_node.s3.offload import Offload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from moln_node.s3.auth.authenticate import ChunkSigning
    from moln_node.s3.auth.source import Source

_CRLF = b"\r\n"
_MAX_TRAILERS = 16 * 1024
_MIN_CHUNK = 8192
_HEX = frozenset("0123456789abcdefABCDEF")


async def plain(
    source: Source, size: int | None, sha256: str | None, take: Callable[[bytes], None] | None = None
) -> AsyncIterator[bytes]:
    """A body without framing: `size` bytes, with this SHA-256 where one was signed. `take` gets every block too."""
    digest = hashlib.sha256() if sha256 is not None else None
    works = [work for work in (digest.update if digest else None, take) if work is not None]

    def work_on(block: bytes) -> None:
        for work in works:
            work(block)

    offload = Offload()
    length = 0
    while block := await source.block(BLOCK):
        length += len(block)
        await offload.do(partial(work_on, block), len(block))
        yield block
    await offload.settle()
    if size is not None and length != size:
        raise S3Error("IncompleteBody", f"The body has {length} bytes; Content-Length declared {size}.")
    if digest is not None and not sigv4.equal(digest.hexdigest(), sha256 or ""):
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            ClientComputedContentSHA256=sha256 or "",
            S3ComputedContentSHA256=digest.hexdigest(),
        )


class Chunked:
    """A body in aws-chunked framing: chunks signed one after the other or not at all, perhaps with trailers."""

    def __init__(
        self,
        source: Source,
        size: int,
        signing: ChunkSigning | None,
        announced: frozenset[str] | None,
        take: Callable[[bytes], None] | None = None,
    ) -> None:
        self._source = source
        self._size = size
        self._signing = signing
        self._previous = signing.seed if signing else ""
        self._announced = announced
        self._take = take
        self._digest = hashlib.sha256()  # of the chunk that is being read
        self.trailers: dict[str, str] = {}

    async def stream(self) -> AsyncIterator[bytes]:
        """The decoded bytes in blocks; `trailers` is filled when it has ended."""
        offload = Offload()
        async for block, ends in self._blocks():
            await offload.do(partial(self._check, block, ends), len(block))
            if block:
                yield block
        await offload.settle()
        await self._finish()

    def _check(self, block: bytes, ends: list[tuple[int, str]]) -> None:
        """Digest a block, and hold each chunk that ends in it against its signature. Perhaps in a thread."""
        if self._take is not None:
            self._take(block)
        if self._signing is None:
            return
        view, start = memoryview(block), 0
        for end, signature in ends:
            self._digest.update(view[start:end])
            self._verify(self._digest.hexdigest(), signature)
            self._digest, start = hashlib.sha256(), end
        self._digest.update(view[start:])

    async def _blocks(self) -> AsyncIterator[tuple[bytes, list[tuple[int, str]]]]:
        """The bytes of chunk after chunk, in blocks; with each, where signed chunks end in it, and their signatures."""
        pieces: list[bytes] = []
        ends: list[tuple[int, str]] = []
        length = held = 0
        size = _MIN_CHUNK
        while size:
            before = size
            size, signature = _chunk_header(await self._source.until(_CRLF), signed=self._signing is not None)
            if size and before < _MIN_CHUNK and self._signing is not None:
                raise S3Error("InvalidChunkSizeError")
            length += size
            if length > self._size:
                raise S3Error("IncompleteBody", f"The chunks exceed the {self._size} bytes that were declared.")
            left = size
            while left:
                piece = await self._source.some(min(left, BLOCK - held))
                if not piece:
                    raise S3Error("IncompleteBody", "The chunked body ended within a chunk.")
                pieces.append(piece)
                left -= len(piece)
                held += len(piece)
                if held == BLOCK:
                    yield b"".join(pieces), ends
                    pieces, ends, held = [], [], 0
            if size and await self._source.block(2) != _CRLF:
                raise S3Error("InvalidRequest", "A chunk is not followed by CRLF: its size is wrong.")
            if self._signing is not None:
                ends.append((held, signature))
        if length != self._size:
            raise S3Error("IncompleteBody", f"The chunks hold {length} bytes; {self._size} were declared.")
        yield b"".join(pieces), ends

    def _verify(self, digest: str, signature: str) -> None:
        if self._signing is None:
            return
        signing = self._signing
        text = (
            f"AWS4-HMAC-SHA256-PAYLOAD\n{signing.amz_date}\n{signing.scope}\n{self._previous}\n"
            f"{sigv4.EMPTY_SHA256}\n{digest}"
        )
        self._previous = self._match(text, signature)

    def _match(self, text: str, signature: str) -> str:
        ours = sigv4.sign(self._signing.signing_key, text) if self._signing else ""
        if not hmac.compare_digest(ours.encode(), signature.encode("utf-8", "replace")):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match.")
        return ours

    async def _finish(self) -> None:
        """Read what follows the last chunk: trailers if they were announced, and nothing more."""
        if self._announced is None:
            rest = await self._source.block(3)
            if rest not in (b"", b"\r\n"):
                raise S3Error("MalformedTrailerError", "Something follows the last chunk, unannounced.")
            return
        signed = bytearray()
        signature = ""
        total = 0
        while line := await self._trailer_line():
            total += len(line)
            if total > _MAX_TRAILERS:
                raise S3Error("MalformedTrailerError", "The trailers are longer than 16 KiB.")
            name, colon, value = line.decode("utf-8", "replace").partition(":")
            name, value = name.strip().lower(), value.strip()
            if not colon:
                raise S3Error("MalformedTrailerError")
            if name == "x-amz-trailer-signature":
                signature = value
                continue
            if name not in self._announced:
                raise S3Error("MalformedTrailerError", f"The trailer {name} was not announced in x-amz-trailer.")
            signed += f"{name}:{value}\n".encode()
            self.trailers[name] = value
        if missing := self._announced - self.trailers.keys():
            raise S3Error("MalformedTrailerError", f"The body ended without the trailer {', '.join(sorted(missing))}.")
        if self._signing is not None:
            signing = self._signing
            self._match(
                f"AWS4-HMAC-SHA256-TRAILER\n{signing.amz_date}\n{signing.scope}\n{self._previous}\n"
                f"{hashlib.sha256(signed).hexdigest()}",
                signature,
            )

    async def _trailer_line(self) -> bytes:
        """The next line; nothing for the empty one that ends the trailers, which some clients leave out."""
        try:
            return (await self._source.until(_CRLF)).strip()
        except S3Error as error:
            if error.code == "IncompleteBody" and not self._source.pending:
                return b""
            raise


def _chunk_header(line: bytes, *, signed: bool) -> tuple[int, str]:
    """Size and signature of a chunk from the line before it."""
    text = line.decode("latin-1")
    size, _, extension = text.partition(";")
    if not size or len(size) > 16 or not set(size) <= _HEX:
        raise S3Error("InvalidRequest", "The size of a chunk is not a hexadecimal number.")
    name, _, signature = extension.strip().partition("=")
    if signed and (name != "chunk-signature" or not signature):
        raise S3Error("SignatureDoesNotMatch", "A chunk came without its chunk-signature.")
    return int(size, 16), signature
