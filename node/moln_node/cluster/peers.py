"""Speaking to other nodes: one `RemoteReplica` for each, over keep-alive connections to their port 9001.

Every call has a time-out. Bodies stream both ways with the back-pressure of the sockets.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

import aiohttp
import msgspec
from pydantic import ValidationError

from moln_node import tracing
from moln_node.cluster import messages, wire
from moln_node.cluster.errors import LateEpochError, PeerError, StaleEpochError
from moln_node.cluster.messages import (
    Collected,
    Enrolled,
    Fingerprints,
    NamedAnswer,
    PartsAnswer,
    Report,
    Staged,
    UsageAnswer,
)
from moln_node.logs import REQUEST_HEADER, request_id
from moln_node.store.errors import StorageFullError
from moln_node.store.registers import KeyState
from moln_node.store.scan import Page
from moln_node.store.steps.replica import Vote
from moln_spec.cloudmap import CloudMap
from moln_spec.peertls import asks_by_tls

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from typing import Any

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
    from moln_node.peertls import PeerTls
    from moln_node.store.registers import Register, Row

    _Request = AbstractAsyncContextManager[aiohttp.ClientResponse]

T = TypeVar("T")

PREFIX: Final = "/v1/replica/"
EPOCH_HEADER: Final = "Moln-Epoch"
DEADLINE_HEADER: Final = "Moln-Deadline"
"""Seconds after which nobody waits for the answer any more."""
CONNECT_SECONDS: Final = 1.0
CALL_SECONDS: Final = 4.0
LONG_SECONDS: Final = 30.0
"""What can't be asked for in parts: one register with a million versions takes a node some seconds."""
IDLE_SECONDS: Final = 10.0
INSTALL_SECONDS: Final = 600.0
_CHUNK: Final = 256 * 1024


class Session:
    """What all peers share: connections, the cloud secret, and how far the cloud is with TLS.

    Attributes:
        take_map: awaited with a newer map that a peer obeys; set by whoever keeps the map.
        unanswered: calls of each peer to which no answer came, since the start.
    """

    def __init__(self, secret: Callable[[], str], tls: PeerTls | None = None) -> None:
        self._secret = secret
        self._tls = tls
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=60)
        self.take_map: Callable[[CloudMap], Awaitable[object]]
        self.unanswered: Counter[str] = Counter()
        self._http = aiohttp.ClientSession(connector=connector, auto_decompress=False)

    def request(self, method: str, address: str, path: str, **how: Any) -> _Request:
        """A request to a peer: by TLS once every node answers it, with what this node has to show now."""
        if self._tls is None or not asks_by_tls(self._tls.now.mode):
            return self._http.request(method, f"http://{address}{path}", **how)
        return self._http.request(method, f"https://{address}{path}", ssl=self._tls.now.client, **how)

    def headers(self, epoch: int) -> dict[str, str]:
        """What every request by the map of that epoch carries."""
        headers = {"Authorization": f"Bearer {self._secret()}", EPOCH_HEADER: str(epoch)}
        if request := request_id.get():
            headers[REQUEST_HEADER] = request
        return headers

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


class RemoteReplica:
    """Another node, as an owner by one map; see `Replica`."""

    def __init__(self, session: Session, name: str, address: str, cloud_map: CloudMap) -> None:
        self._session = session
        self._name = name
        self._address = address
        self._map = cloud_map

    def _request(self, method: str, path: str, headers: dict[str, str], **how: Any) -> _Request:
        return self._session.request(method, self._address, path, headers={**self._headers(), **headers}, **how)

    def _headers(self) -> dict[str, str]:
        return self._session.headers(self._map.epoch)

    def _signed(self, data: bytes) -> dict[str, str]:
        return wire.signed(data, self._map.epoch)

    async def ask(self, message: Ask) -> KeyState:
        """See `Replica.ask`."""
        return await self._call("ask", message, KeyState)

    async def prepare(self, message: Prepare) -> Vote:
        """See `Replica.prepare`."""
        return await self._call("prepare", message, Vote)

    async def accept(self, message: Accept) -> Vote:
        """See `Replica.accept`."""
        seconds = INSTALL_SECONDS if any(write.source for write in message.writes) else CALL_SECONDS
        return await self._call("accept", message, Vote, seconds)

    async def install(self, message: Install) -> Vote:
        """See `Replica.install`."""
        return await self._call("install", message, Vote, INSTALL_SECONDS)

    async def collect(self, message: Collect) -> Collected:
        """See `Replica.collect`."""
        return await self._call("collect", message, Collected)

    async def named(self, message: Named) -> NamedAnswer:
        """See `Replica.named`."""
        return await self._call("named", message, NamedAnswer)

    async def scan(self, message: Scan) -> Page:
        """See `Replica.scan`."""
        return await self._call("scan", message, Page)

    async def parts(self, message: PartsAsk) -> PartsAnswer:
        """See `Replica.parts`."""
        return await self._call("parts", message, PartsAnswer)

    async def usage(self, message: UsageAsk) -> UsageAnswer:
        """See `Replica.usage`."""
        return await self._call("usage", message, UsageAnswer)

    async def fingerprints(self, message: FingerprintsAsk) -> Fingerprints:
        """See `Replica.fingerprints`."""
        return await self._call(
            "fingerprints", message, Fingerprints, CALL_SECONDS if message.keys[1:] else LONG_SECONDS
        )

    async def enroll(self, message: Enroll) -> Enrolled:
        """See `Replica.enroll`."""
        return await self._call("enroll", message, Enrolled)

    async def report(self, message: ReportAsk) -> Report:
        """See `Replica.report`."""
        return await self._call("report", message, Report)

    async def stage(self, storage_class: str, size: int, body: AsyncIterator[bytes]) -> Staged:
        """See `Replica.stage`."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=None)
        query = {"class": storage_class}
        with tracing.call(self._name, "replica/stage") as traced:
            headers = {**traced, "Content-Length": str(size)}
            request = self._request("POST", PREFIX + "stage", headers, params=query, data=body, timeout=timeout)
            data = await self._guard(self._read(request))
        return messages.decode(Staged, data)

    async def unstage(self, staged: str) -> None:
        """See `Replica.unstage`."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        await self._guard(self._read(self._request("DELETE", f"{PREFIX}stage/{staged}", {}, timeout=timeout)))

    async def body(self, register: Register, row: Row, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """See `Replica.body`."""
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=IDLE_SECONDS)
        data = msgspec.msgpack.encode((register, row, start, end))
        try:
            with tracing.call(self._name, "replica/body") as traced:
                headers = {**traced, **self._signed(data), wire.FRAMES_HEADER: wire.FRAMES}
                async with self._request("POST", PREFIX + "body", headers, data=data, timeout=timeout) as answer:
                    await self._check(answer)
                    if wire.FRAMES_HEADER in answer.headers:
                        async for piece in wire.unframed(answer.content, end - start, self._name):
                            yield piece
                        return
                    left = end - start  # from an older release
                    async for piece in answer.content.iter_chunked(_CHUNK):
                        left -= len(piece)
                        yield piece
                    if left:
                        raise PeerError(f"{self._name} broke off, {left} bytes before the end")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PeerError(f"{self._name}: {error or type(error).__name__}") from error

    async def _call(self, method: str, message: msgspec.Struct, kind: type[T], seconds: float = CALL_SECONDS) -> T:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        data = messages.encode(message)
        for again in (True, False):
            try:
                with tracing.call(self._name, "replica/" + method) as traced:
                    headers = {**traced, **self._signed(data), DEADLINE_HEADER: f"{seconds:g}"}
                    request = self._request("POST", PREFIX + method, headers, data=data, timeout=timeout)
                    return await self._guard(self._decoded(kind, request))
            except StaleEpochError:
                await self._session.take_map(await self._newer_map())
                raise
            except LateEpochError:
                if not again:
                    raise
                await self._hand_map()
        raise AssertionError  # the second round returns or raises

    async def _newer_map(self) -> CloudMap:
        """The map that the peer obeys."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        answer = await self._guard(self._read(self._request("GET", "/v1/map", {}, timeout=timeout)))
        try:
            return CloudMap.model_validate_json(answer)
        except ValidationError as error:
            raise PeerError(f"{self._name} obeys a map that this release does not understand: {error}") from error

    async def _hand_map(self) -> None:
        """Give the peer the map by which it was asked."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        data = self._map.model_dump_json().encode()
        headers = {"Content-Type": "application/json", **wire.signed(data)}
        await self._guard(self._read(self._request("PUT", "/v1/map", headers, data=data, timeout=timeout)))

    async def _decoded(self, kind: type[T], request: _Request) -> T:
        return messages.decode(kind, await self._read(request))

    async def _read(self, request: _Request) -> bytes:
        async with request as answer:
            await self._check(answer)
            data = await answer.read()
            if not wire.is_same(data, answer.headers):
                raise wire.changed(self._name)
            return data

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Raise what a refusal means."""
        if answer.status == 200:
            return
        text = (await answer.read())[:2000]
        try:
            problem = json.loads(text)
        except ValueError:
            problem = {}
        if answer.status == 409 and "epoch" in problem:
            theirs = int(problem["epoch"])
            raise StaleEpochError(theirs) if theirs > self._map.epoch else LateEpochError(theirs)
        why = problem.get("error", f"status {answer.status}")
        if answer.status == 507:
            raise StorageFullError(f"{self._name}: {why}")
        raise PeerError(f"{self._name}: {why}", sent=answer.status >= 500 and not problem.get("undone", False))

    async def _guard(self, call: Awaitable[T]) -> T:
        """The call's answer; every way of getting none is a PeerError."""
        try:
            return await call
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            self._session.unanswered[self._name] += 1
            raise PeerError(f"{self._name} can't be reached: {error}", sent=False) from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._session.unanswered[self._name] += 1
            raise PeerError(f"{self._name}: {error or type(error).__name__}") from error
        except msgspec.MsgspecError as error:
            raise PeerError(f"{self._name} answered what this release does not understand: {error}") from error
