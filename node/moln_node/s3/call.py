"""One request, once it is understood: what every handler gets.

Made by `moln_node.s3.app` after routing, authentication and authorisation; a handler reads from it, calls
`call.objects`, and returns a response.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moln_node.s3 import sendfile, xml
from moln_node.s3.access import authorise
from moln_node.s3.auth.payload import Chunked, plain
from moln_node.s3.auth.source import Source
from moln_node.s3.errors import S3Error
from moln_node.store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from xml.etree.ElementTree import Element

    from aiohttp import web
    from multidict import CIMultiDictProxy

    from moln_node.cluster.objects import Objects
    from moln_node.s3.auth.authenticate import Authentication
    from moln_node.s3.auth.keyring import Identity, Keyring
    from moln_node.s3.expectation import Expectation
    from moln_node.s3.operation import Operation
    from moln_node.s3.settings import Settings
    from moln_node.s3.target import Target
    from moln_node.store.model import Bucket
    from moln_node.store.reading import FileBytes

_STREAMING = {
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": (True, False),
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": (True, True),
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": (False, True),
}  # value of x-amz-content-sha256: (are the chunks signed, are there trailers)
_HEX = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Touched:
    """An object that a request reaches besides what its line names: a copy's source, one of many deletes.

    `what` is S3's word for it in access logs; `status` and `error` tell how it ended, where that is not the answer's.
    """

    bucket: Bucket
    key: str
    version_id: str | None
    what: str
    status: int = 0
    error: str = ""


@dataclass(slots=True)
class Call:
    """A request with its names taken apart. `headers` are the request's; query names and values are decoded."""

    request: web.BaseRequest
    target: Target
    operation: Operation
    authentication: Authentication
    objects: Objects
    keyring: Keyring
    settings: Settings
    request_id: str
    host: str
    secure: bool
    remote: str
    expectation: Expectation
    common: dict[str, str]
    found: Bucket | None = None
    touched: list[Touched] = field(default_factory=list)
    _chunked: Chunked | None = field(default=None, repr=False)

    @property
    def bucket(self) -> str:
        """The bucket's name; empty on the service itself."""
        return self.target.bucket

    @property
    def key(self) -> str:
        """The object's key; empty on a bucket."""
        return self.target.key

    @property
    def query(self) -> Mapping[str, str]:
        """The decoded query; the first value where a name comes twice."""
        return self.target.query

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The request's headers."""
        return self.request.headers

    @property
    def identity(self) -> Identity:
        """Who calls."""
        return self.authentication.identity

    @property
    def origin(self) -> str:
        """The front's own address as the client sees it: `http://host:port`."""
        return f"{'https' if self.secure else 'http'}://{self.host}"

    @property
    def bucket_record(self) -> Bucket:
        """The bucket as authorisation read it at the start of this request (not on CreateBucket and ListBuckets)."""
        if self.found is None:
            raise S3Error("NoSuchBucket", BucketName=self.bucket)
        return self.found

    async def authorise(
        self,
        action: str,
        bucket: str,
        key: str,
        *,
        version_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Bucket:
        """May the caller also do this (`s3:GetObject` on a copy's source, `s3:DeleteObject` on each of many)?

        Returns the bucket concerned; raises S3Error AccessDenied, or what the store says of the bucket.
        """
        known = self.found if self.found is not None and self.found.name == bucket else None
        return await authorise(
            self, action, bucket, key, version_id=version_id, known=known, headers=headers, tags=tags
        )

    async def start(self, response: web.StreamResponse) -> None:
        """Send the head of a streamed answer, with the headers that every answer has. The body is the handler's."""
        response.headers.update(self.common)
        await response.prepare(self.request)

    @property
    def sends_files(self) -> bool:
        """Whether the system can send the bytes of a file to this client as they are: not through TLS."""
        transport = self.request.transport
        return transport is not None and transport.get_extra_info("sslcontext") is None

    async def send(self, response: web.StreamResponse, piece: bytes | FileBytes) -> None:
        """Send a piece of a streamed answer; ConnectionResetError if the client does not take it in time."""
        try:
            async with asyncio.timeout(self.settings.send_idle):
                await (response.write(piece) if isinstance(piece, bytes) else self._send_file(piece))
        except TimeoutError:
            msg = f"the client took less than a block in {self.settings.send_idle} s"
            raise ConnectionResetError(msg) from None

    async def _send_file(self, piece: FileBytes) -> None:
        """Let the system send bytes from the file that they are in."""
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        await self.request.protocol.flushed()  # type: ignore[attr-defined]  # it is `protocol.HttpServer` that makes them
        sent = await sendfile.send(transport, piece.file.fileno(), piece.offset, piece.length)
        if sent != piece.length:
            raise CorruptError("a body file was cut short while it was sent")

    @property
    def size(self) -> int | None:
        """How many bytes `body()` will yield, as the client declared it; None if it did not (answer 411)."""
        if self.authentication.content_sha256 in _STREAMING:
            return self._number("x-amz-decoded-content-length")
        return self._number("Content-Length")

    def _number(self, header: str) -> int | None:
        text = self.headers.get(header)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise S3Error("InvalidArgument", f"The header {header} must be a number.")
        return int(text)

    @property
    def trailers(self) -> Mapping[str, str]:
        """The trailers of the body (x-amz-checksum-..., lower case); complete once `body()` has ended."""
        return self._chunked.trailers if self._chunked else {}

    @property
    def announced_trailers(self) -> frozenset[str]:
        """Which trailers the client said would come (lower case)."""
        text = self.headers.get("x-amz-trailer", "")
        return frozenset(name.strip().lower() for name in text.split(",") if name.strip())

    def body(self, take: Callable[[bytes], None] | None = None) -> AsyncIterator[bytes]:
        """The payload, unframed, in blocks of 1 MiB, the last one shorter; to be taken once.

        `take` gets every block too, in order, perhaps in a thread: all of them when the iterator has ended.

        S3Error, at the latest after the last block, if it isn't what was signed and declared: nothing may become
        visible before the iterator has ended.
        """
        source = Source(self.request.content, self.settings.body_idle, self.expectation.meet)
        declared = self.authentication.content_sha256
        if declared not in _STREAMING:
            signed = None if declared == "UNSIGNED-PAYLOAD" else declared
            if signed is not None and (len(signed) != 64 or not set(signed) <= _HEX):
                raise S3Error(
                    "InvalidArgument",
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING form that is supported "
                    f"({', '.join(_STREAMING)}), or a valid sha256 value.",
                )
            return plain(source, self.size, signed.lower() if signed else None, take)
        size = self.size
        if size is None:
            raise S3Error("MissingContentLength", "You must provide the x-amz-decoded-content-length header.")
        signs, trails = _STREAMING[declared]
        signing = self.authentication.chunks if signs else None
        if signs and signing is None:
            raise S3Error("AccessDenied", "A body of signed chunks needs a signed request.")
        self._chunked = Chunked(source, size, signing, self.announced_trailers if trails else None, take)
        return self._chunked.stream()

    async def read(self, limit: int | None = None) -> bytes:
        """The whole body where it is a document; MaxMessageLengthExceeded beyond `limit` bytes."""
        most = self.settings.max_document if limit is None else limit
        pieces, length = [], 0
        async for block in self.body():
            length += len(block)
            if length > most:
                raise S3Error("MaxMessageLengthExceeded", f"The document is longer than {most} bytes.")
            pieces.append(block)
        return b"".join(pieces)

    async def read_xml(self, limit: int | None = None) -> Element:
        """The root of the body's XML, tags without namespaces; MalformedXML, MissingRequestBodyError."""
        data = await self.read(limit)
        if not data.strip():
            raise S3Error("MissingRequestBodyError")
        return self.parse_xml(data)

    def parse_xml(self, data: bytes, code: str = "MalformedXML") -> Element:
        """The root of a document that was read; S3Error `code` if it is no XML that we take."""
        try:
            return xml.parse(data)
        except ValueError:
            raise S3Error(code) from None
