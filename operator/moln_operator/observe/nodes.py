"""Port 9001 of the storage nodes: asks for their state, hands them the map and the access keys.

The one place that speaks to nodes. Every call has a deadline; a node that does not answer is an observation, and no
error.
"""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import aiohttp
from pydantic import ValidationError

from moln_spec.cloudmap import CloudMap
from moln_spec.nodestatus import NodeStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Any, Self

    from moln_operator.observe.state import PeerFiles

PORT: Final = 9001
_DEADLINE: Final = aiohttp.ClientTimeout(total=4.0, sock_connect=2.0)
_LONGEST_ANSWER: Final = 4 * 1024 * 1024
_CONNECTIONS: Final = 100
_CONTEXTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Door:
    """Port 9001 of one node: where it is, and what opens it.

    Attributes:
        host: an address.
        secret: the cloud secret.
        name: a name that the node's certificate has.
        tls: the certificates, the operator's among them; None: it is asked by plain HTTP.
    """

    host: str
    secret: str = field(repr=False)
    name: str = ""
    tls: PeerFiles | None = field(default=None, repr=False)

    def url(self, path: str) -> str:
        """Where a call goes to."""
        literal = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{literal}:{PORT}{path}"

    def security(self) -> dict[str, Any]:
        """What aiohttp needs to know of TLS."""
        return {} if self.tls is None else {"ssl": _context(self.tls), "server_hostname": self.name}


@lru_cache(_CONTEXTS)
def _context(files: PeerFiles) -> ssl.SSLContext:
    """What connections to the nodes of one cloud are made with: their certificate is shown, and theirs is checked."""
    context = ssl.create_default_context(cadata="".join(files.trusted))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # OpenSSL takes a certificate with its key from a file alone: from one in memory, so that no disk ever has the key
    with os.fdopen(os.memfd_create("moln-peers"), "w") as file:
        file.write(files.certificate + files.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said, or why nothing was heard of it.

    Attributes:
        status: the node's status; None when it did not answer.
        error: why there is no status, for people.
        started: monotonic time of the node's start, as far as its uptime tells.
    """

    status: NodeStatus | None = None
    error: str = ""
    started: float = 0.0


class NodeError(Exception):
    """A node did not answer, or said no; the message is for people."""


class NodeClient:
    """Speaks to the nodes of every cloud over one pool of connections."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=_DEADLINE, connector=aiohttp.TCPConnector(limit=_CONNECTIONS, limit_per_host=4), trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def status(self, door: Door) -> Answer:
        """A node's status; the answer holds the reason when there is none."""
        try:
            body = await self._call("GET", door, "/v1/status")
            status = NodeStatus.model_validate_json(body)
        except NodeError as error:
            return Answer(error=str(error))
        except ValidationError as error:
            return Answer(error=f"its status is not understood: {error.error_count()} fields are wrong")
        return Answer(status=status, started=time.monotonic() - status.uptime_seconds)

    async def map(self, door: Door) -> CloudMap:
        """The map that a node obeys; NodeError."""
        try:
            return CloudMap.model_validate_json(await self._call("GET", door, "/v1/map"))
        except ValidationError as error:
            raise NodeError(f"its map is not understood: {error.error_count()} fields are wrong") from error

    async def push_map(self, door: Door, cloud_map: CloudMap) -> None:
        """Hand a node the map; NodeError."""
        await self._call("PUT", door, "/v1/map", cloud_map.model_dump_json())

    async def push_credentials(self, door: Door, document: str) -> None:
        """Hand a node the access keys; NodeError."""
        await self._call("PUT", door, "/v1/credentials", document)

    async def _call(self, method: str, door: Door, path: str, body: str | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {door.secret}", "Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, door.url(path), data=body, headers=headers, allow_redirects=False, **door.security()
            ) as response:
                answer = b"".join([piece async for piece in _up_to(_LONGEST_ANSWER, response.content)])
                if response.status != 200:
                    reason = answer[:300].decode("utf-8", "replace")
                    raise NodeError(f"it answers {response.status} to {method} {path}: {reason}")
                return answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise NodeError(f"{method} {path} on {door.host}:{PORT}: {reason}") from error


async def _up_to(limit: int, stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """All that comes; NodeError where that is more."""
    async for piece in stream.iter_any():
        limit -= len(piece)
        if limit < 0:
            raise NodeError("its answer is too long to be one of a node")
        yield piece
