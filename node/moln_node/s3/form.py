"""Browser forms (multipart/form-data) as S3 takes them: small fields first, then the file, which streams.

The store wants a body's size before its first byte, and a form doesn't tell it. A file that ends within the first
`_HELD` bytes is measured; that of a longer one follows from Content-Length, because S3 has the file as the last field.
"""

from __future__ import annotations

from email.message import Message
from typing import TYPE_CHECKING

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.s3.auth.source import Source

_HELD = 1024 * 1024
_MOST_FIELDS = 256 * 1024  # all that comes before the file
_MOST_HEADERS = 8 * 1024


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart/form-data; S3Error if it isn't one."""
    message = Message()
    message["Content-Type"] = content_type.encode("ascii", "replace").decode()
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data":
        raise S3Error("PreconditionFailed", "Bucket POST must be of the enclosure-type multipart/form-data")
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70:
        raise S3Error("MalformedPOSTRequest", "The Content-Type has no valid boundary.")
    return boundary.encode()


class Form:
    """A form up to its file. `fields` have names in lower case; `size` is how many bytes the file has."""

    def __init__(self, source: Source, boundary: bytes, length: int) -> None:
        self._source = source
        self._mark = b"\r\n--" + boundary
        self._length = length
        self.fields: dict[str, str] = {}
        self.file_name = ""
        self.file_type = ""
        self.size = 0
        self._head = bytearray()
        self._whole = False

    async def read_fields(self) -> None:
        """Read up to the file; S3Error if there is none."""
        await self._source.until(self._mark[2:], _MOST_FIELDS)
        while True:
            following = await self._source.block(2)
            if following == b"--":
                raise S3Error("InvalidArgument", "POST requires exactly one file upload per request.")
            if following != b"\r\n" or self._source.consumed > _MOST_FIELDS:
                raise S3Error("MalformedPOSTRequest", f"The fields before the file may have {_MOST_FIELDS} bytes.")
            name = await self._part_name()
            if name == "file":
                break
            value = await self._source.until(self._mark, _MOST_FIELDS)
            self.fields[name] = _text(value)
        await self._measure()

    async def _part_name(self) -> str:
        part = Message()
        headers = b"\r\n" + await self._source.until(b"\r\n\r\n", _MOST_HEADERS)
        for line in headers.split(b"\r\n"):
            header, colon, value = _text(line).partition(":")
            if colon:
                part[header.strip()] = value.strip().replace("\n", " ").replace("\r", " ")
        name = part.get_param("name", header="Content-Disposition")
        if not isinstance(name, str) or not name:
            raise S3Error("MalformedPOSTRequest", "A field of the form has no name.")
        name = name.lower()
        if name == "file":
            # browsers escape quotes in names as %22 and backslashes not at all, so both are read as they come
            self.file_name = part.get_filename("") or ""
            self.file_type = part.get("Content-Type", "")
        return name

    async def _measure(self) -> None:
        start = self._source.consumed
        while len(self._head) < _HELD and not self._whole:
            piece = await self._source.some()
            if not piece:
                raise S3Error("IncompleteBody", "The form ended within its file.")
            seen = max(0, len(self._head) - len(self._mark))
            self._head += piece
            end = self._head.find(self._mark, seen)
            if end >= 0:
                del self._head[end:]
                self._whole = True
        self.size = len(self._head) if self._whole else self._length - start - len(self._mark) - len(b"--\r\n")
        if self.size < 0:
            raise S3Error("IncompleteBody", "The form is longer than its Content-Length.")

    async def file(self) -> AsyncIterator[bytes]:
        """The bytes of the file; MalformedPOSTRequest if it does not have `size` of them."""
        if self._whole:
            yield bytes(self._head)
            return
        held, sent = self._head, 0
        end = -1
        while end < 0:
            keep = len(self._mark) - 1  # a mark may have begun here
            if len(held) > _HELD // 2:
                yield bytes(held[:-keep])
                sent += len(held) - keep
                del held[:-keep]
            piece = await self._source.some()
            if not piece:
                raise S3Error("IncompleteBody", "The form ended within its file.")
            seen = max(0, len(held) - keep)
            held += piece
            end = held.find(self._mark, seen)
        if sent + end != self.size:
            raise S3Error("MalformedPOSTRequest", "A file of more than 1 MiB must be the last field, followed by CRLF.")
        if end:
            yield bytes(held[:end])


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise S3Error("MalformedPOSTRequest", "A field of the form is not UTF-8.") from None
