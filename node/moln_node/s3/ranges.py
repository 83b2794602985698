"""Byte ranges: what `Range` and `x-amz-copy-source-range` ask of an object of a known size.

Pure: called by the handlers that read (`reading`, `copy`, `multipart`), touches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from moln_node.s3.errors import S3Error

_RANGE: Final = re.compile(r"bytes=\s*(\d*)\s*-\s*(\d*)\s*")
_COPY_RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)")
_MAX_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` up to, not including, `end` of an object of `size` bytes."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        """How many bytes that is."""
        return self.end - self.start

    @property
    def content_range(self) -> str:
        """The value of Content-Range."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range that a `Range` header names, or None where the whole object is to be sent.

    As in RFC 9110 and S3, a header that is no single byte range is ignored; one that lies outside is InvalidRange.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if len(first) > _MAX_DIGITS or (first and last and len(last) <= _MAX_DIGITS and int(last) < int(first)):
        return None
    if not first:
        length = size if len(last) > _MAX_DIGITS else min(int(last), size)
        if length == 0:
            raise not_satisfiable(header or "", size)
        return ByteRange(size - length, size, size)
    start = int(first)
    if start >= size:
        raise not_satisfiable(header or "", size)
    end = size if not last or len(last) > _MAX_DIGITS else min(int(last) + 1, size)
    return ByteRange(start, end, size)


def parse_copy_range(header: str, size: int) -> ByteRange:
    """The range that `x-amz-copy-source-range` names: `bytes=first-last`, both given and both inside the source."""
    match = _COPY_RANGE.fullmatch(header.strip())
    if match is None or any(len(number) > _MAX_DIGITS for number in match.groups()):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the"
            " zero-based offsets of the first and last bytes to copy",
            ArgumentName="x-amz-copy-source-range",
            ArgumentValue=header,
        )
    first, last = (int(number) for number in match.groups())
    if last < first or last >= size:
        raise S3Error(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size}",
            RangeRequested=header,
            ActualObjectSize=size,
        )
    return ByteRange(first, last + 1, size)


def not_satisfiable(header: str, size: int) -> S3Error:
    """The 416 of a range outside of the object; it tells the size, so that a client can correct itself."""
    return S3Error(
        "InvalidRange",
        headers={"Content-Range": f"bytes */{size}"},
        RangeRequested=header,
        ActualObjectSize=size,
    )
