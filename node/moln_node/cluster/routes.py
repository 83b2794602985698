"""The owner's side of port 9001: `/v1/replica/...`, answered by this node's `LocalReplica`.

`add_routes` adds them to the peer application, behind its door (the cloud secret). Calls that decide or answer for the
cloud are let in at this node's epoch only; the refusal names it, so that a sender who is behind fetches the newer map,
and one who is ahead brings it. What nobody waits for any more is not gone on with, unless it is on its way to the disk.
Bodies stream with bounded memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from moln_node.cluster import messages, wire
from moln_node.cluster.errors import LateEpochError, PeerError, StaleEpochError
from moln_node.cluster.fan import is_undone
from moln_node.cluster.messages import (
    Accept,
    Ask,
    Collect,
    Enroll,
    FingerprintsAsk,
    Install,
    Named,
    PartsAsk,
    Prepare,
    ReportAsk,
    Scan,
    UsageAsk,
)
from moln_node.cluster.peers import DEADLINE_HEADER, EPOCH_HEADER, PREFIX
from moln_node.store.errors import QuotaExceededError, StorageFullError, StoreError
from moln_node.store.registers import Register, Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Handler

    from moln_node.cluster.replica import LocalReplica

_CHUNK: Final = 256 * 1024
_BODY_ASK: Final = msgspec.msgpack.Decoder(tuple[Register, Row, int, int])


def add_routes(app: web.Application, replica: LocalReplica) -> None:
    """Let this application answer other nodes."""
    calls: list[tuple[str, Handler]] = [
        ("ask", _at_epoch(Ask, replica.ask)),
        ("prepare", _at_epoch(Prepare, replica.prepare)),
        ("accept", _at_epoch(Accept, replica.accept)),
        ("install", _at_epoch(Install, replica.install)),
        ("collect", _at_epoch(Collect, replica.collect)),
        ("named", _at_epoch(Named, replica.named)),
        ("scan", _at_epoch(Scan, replica.scan)),
        ("parts", _answering(PartsAsk, replica.parts)),
        ("usage", _answering(UsageAsk, replica.usage)),
        ("fingerprints", _answering(FingerprintsAsk, replica.fingerprints)),
        ("enroll", _answering(Enroll, replica.enroll)),
        ("report", _answering(ReportAsk, replica.report)),
    ]

    async def stage(request: web.Request) -> web.Response:
        size = request.content_length
        if size is None:
            return web.json_response({"error": "a body wants a Content-Length", "undone": True}, status=411)
        return _say(await replica.stage(request.query.get("class", ""), size, request.content.iter_chunked(_CHUNK)))

    async def unstage(request: web.Request) -> web.Response:
        await replica.unstage(request.match_info["id"])
        return web.Response()

    async def body(request: web.Request) -> web.StreamResponse:
        register, row, start, end = _BODY_ASK.decode(await _heard(request))
        return await _send(request, replica.body(register, row, start, end), end - start)

    for name, handler in [*calls, ("body", body)]:
        app.router.add_post(PREFIX + name, _guarded(_in_time(handler)))
    app.router.add_post(PREFIX + "stage", _guarded(stage))  # a PUT would be sent again by itself
    app.router.add_delete(PREFIX + "stage/{id}", _guarded(unstage))


def _answering(kind: type[messages.Message], call: Callable[[messages.Message], Awaitable[msgspec.Struct]]) -> Handler:
    """One message in, one out."""

    async def handler(request: web.Request) -> web.Response:
        return _say(await call(messages.decode(kind, await _heard(request))))

    return handler


def _at_epoch(
    kind: type[messages.Message], call: Callable[[messages.Message, int], Awaitable[msgspec.Struct]]
) -> Handler:
    """As `_answering`, for a call that is let in at one epoch only."""

    async def handler(request: web.Request) -> web.Response:
        message = messages.decode(kind, await _heard(request))
        return _say(await call(message, _epoch(request)))

    return handler


async def _heard(request: web.Request) -> bytes:
    """What was asked, as it was sent."""
    data = await request.read()
    if not wire.is_same(data, request.headers, _epoch(request)):
        raise PeerError("what was asked was changed on the way", sent=False)
    return data


def _epoch(request: web.Request) -> int:
    """The epoch by which the sender asks; of none where it does not say so."""
    try:
        return int(request.headers.get(EPOCH_HEADER, "0"))
    except ValueError:
        return 0


def _say(answer: msgspec.Struct) -> web.Response:
    data = messages.encode(answer)
    return web.Response(body=data, headers=wire.signed(data))


def _guarded(handler: Handler) -> Handler:
    """Tell of errors whether what was asked is certainly undone, and of a refused epoch which one is obeyed here."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (StaleEpochError, LateEpochError) as error:
            return web.json_response({"error": "another epoch", "epoch": error.epoch}, status=409)
        except (StorageFullError, QuotaExceededError) as error:
            return web.json_response({"error": str(error)}, status=507)
        except (PeerError, StoreError) as error:
            return web.json_response({"error": str(error), "undone": is_undone(error)}, status=503)
        except msgspec.MsgspecError as error:
            return web.json_response({"error": str(error), "undone": True}, status=400)

    return answer


def _in_time(handler: Handler) -> Handler:
    """Stop when nobody waits for the answer any more."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(_seconds_left(request)):
                return await handler(request)
        except TimeoutError:
            raise PeerError("nobody waits for this any more") from None

    return answer


def _seconds_left(request: web.Request) -> float | None:
    """How long the sender waits for the answer; None where it does not say."""
    try:
        seconds = float(request.headers.get(DEADLINE_HEADER, ""))
    except ValueError:
        return None
    return seconds if seconds > 0 else None


async def _send(request: web.Request, blocks: AsyncIterator[bytes], length: int) -> web.StreamResponse:
    """Stream blocks. Until the first is there an error can still be told; later the connection is cut."""
    response = web.StreamResponse()
    response.content_length = length
    pieces: AsyncIterator[bytes | memoryview] = blocks
    if request.headers.get(wire.FRAMES_HEADER) == wire.FRAMES:
        response.headers[wire.FRAMES_HEADER] = wire.FRAMES
        response.content_length = wire.framed_length(length)
        pieces = wire.framed(blocks)
    first = await anext(pieces, b"")
    await response.prepare(request)
    try:
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
    except ConnectionError:  # its reader went away, or has read enough
        return response
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise
    return response
