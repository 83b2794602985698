"""GetObject and HeadObject: conditions, ranges and parts, and the stream of checked blocks.

Called by the operation table. Memory is bounded by the store's read-ahead: a client that reads slowly slows the disk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3.conditions import Verdict, precondition_failed, read_verdict
from moln_node.s3.errors import S3Error
from moln_node.s3.lock import headers as locks
from moln_node.s3.ranges import ByteRange, parse_range
from moln_node.s3.representation import checksum_headers, object_headers, response_overrides
from moln_node.s3.sse import cover as covers
from moln_node.s3.versions import version_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.s3.call import Call
    from moln_node.store.model import Checksum, Part, Record
    from moln_node.store.reading import FileBytes

_WHOLE_BYTES: Final = 256 * 1024  # up to here one write sends headers and bytes


@dataclass(frozen=True, slots=True)
class Selection:
    """Which bytes of an object a request wants: all, a range, or those of a part."""

    span: ByteRange
    partial: bool
    checksum: Checksum | None
    parts_count: int | None = None


async def get_object(call: Call) -> web.StreamResponse:
    """GetObject."""
    overrides = response_overrides(call.query, anonymous=call.identity.anonymous)
    async with call.objects.open(call.bucket, call.key, version_of(call.query)) as reading:
        cover = covers.for_read(call, reading.record)
        unchanged = _unchanged(call, reading.record)
        if unchanged is not None:
            return unchanged
        selection = select(call, reading.record)
        headers = _headers(call, reading.record, selection) | await locks.shown(call, reading.record) | overrides
        status = 206 if selection.partial else 200
        span = selection.span
        if span.length <= _WHOLE_BYTES:
            body = b"".join([block async for block in cover.read(reading, span.start, span.end)])
            return web.Response(status=status, headers=headers, body=body)
        pieces = (cover.pieces if call.sends_files else cover.read)(reading, span.start, span.end)
        return await _stream(call, status, headers, span.length, pieces)


async def head_object(call: Call) -> web.Response:
    """HeadObject: what GetObject would answer, without the bytes."""
    overrides = response_overrides(call.query, anonymous=call.identity.anonymous)
    record = await call.objects.head(call.bucket, call.key, version_of(call.query))
    covers.for_facts(call, record)
    unchanged = _unchanged(call, record)
    if unchanged is not None:
        return unchanged
    selection = select(call, record)
    headers = _headers(call, record, selection) | await locks.shown(call, record) | overrides
    headers["Content-Length"] = str(selection.span.length)
    return web.Response(status=206 if selection.partial else 200, headers=headers)


def _unchanged(call: Call, record: Record) -> web.Response | None:
    """The 304 that the conditions ask for, None where the object is to be sent; PreconditionFailed."""
    verdict = read_verdict(call.headers, record.etag, record.modified_ms)
    if verdict is Verdict.SEND:
        return None
    if verdict is Verdict.FAILED:
        raise precondition_failed("If-Match" if "If-Match" in call.headers else "If-Unmodified-Since")
    return web.Response(status=304, headers=object_headers(call.bucket_record, record))


def select(call: Call, record: Record) -> Selection:
    """The bytes that Range or partNumber name; InvalidRange, InvalidPart."""
    part_text = call.query.get("partNumber")
    range_header = call.headers.get("Range")
    if part_text is not None:
        if range_header is not None:
            raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        return _part_selection(record, part_text)
    span = parse_range(range_header, record.size)
    if span is not None:
        return Selection(span, partial=True, checksum=None)
    return Selection(ByteRange(0, record.size, record.size), partial=False, checksum=record.checksum)


def _part_selection(record: Record, text: str) -> Selection:
    """The bytes of one part; an object that was put whole is its own part 1."""
    number = part_number(text)
    whole = ByteRange(0, record.size, record.size)
    if not record.parts:
        if number != 1:
            raise _no_such_part(number, 1)
        return Selection(whole, partial=record.size > 0, checksum=record.checksum)
    start = 0
    for part in record.parts:
        if part.number == number:
            return _one_part(record, part, start)
        start += part.size
    raise _no_such_part(number, len(record.parts))


def _one_part(record: Record, part: Part, start: int) -> Selection:
    """One part of several; its checksum is shown under the type of the object's."""
    span = ByteRange(start, start + part.size, record.size)
    checksum = part.checksum
    if checksum is not None and record.checksum is not None:
        checksum = replace(checksum, type=record.checksum.type)
    return Selection(span, partial=part.size > 0, checksum=checksum, parts_count=len(record.parts))


def part_number(text: str) -> int:
    """A part number, 1 to 10,000; InvalidArgument."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 10_000):
        raise S3Error(
            "InvalidArgument",
            "Part number must be an integer between 1 and 10000, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    return int(text)


def _no_such_part(number: int, count: int) -> S3Error:
    return S3Error(
        "InvalidPart",
        "The requested part number is not one of the object's.",
        PartNumberRequested=number,
        ActualPartCount=count,
    )


def _headers(call: Call, record: Record, selection: Selection) -> dict[str, str]:
    headers = object_headers(call.bucket_record, record) | covers.shown(record.attributes.encryption, call.headers)
    if selection.partial:
        headers["Content-Range"] = selection.span.content_range
    if selection.parts_count is not None:
        headers["x-amz-mp-parts-count"] = str(selection.parts_count)
    if call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        headers.update(checksum_headers(selection.checksum))
    return headers


async def _stream(
    call: Call, status: int, headers: dict[str, str], length: int, pieces: AsyncIterator[bytes | FileBytes]
) -> web.StreamResponse:
    """Send pieces as they come. The first is read before the headers leave, so that a bad copy still gets an error.

    Later, all that is left is to cut the connection: a client must not take what it got for the object.
    """
    first = await anext(pieces)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    await call.start(response)
    try:
        await call.send(response, first)
        async for piece in pieces:
            await call.send(response, piece)
        await response.write_eof()
    except BaseException:
        if call.request.transport is not None:
            call.request.transport.abort()
        raise
    return response
