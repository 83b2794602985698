"""A raw S3 client for tests of many nodes: one request, one node, no retries, so that what happened is known."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlencode

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.cluster.nodes import ACCESS_KEY, SECRET_KEY
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cluster.nodes import Node


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered; status 0: nothing, so nobody knows."""

    status: int
    body: bytes = b""
    etag: str = ""
    headers: Mapping[str, str] | None = None


class Client:
    """Speaks S3 with any node."""

    def __init__(self, seconds: float = 20.0) -> None:
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        self.http._retry_connection = False  # else a put is sent twice where a connection breaks, and nobody knows
        self._auth = S3SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    async def call(
        self,
        node: Node,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request to one node."""
        if node.s3 is None:
            return Answer(-1)
        url = f"http://{node.s3}{quote(path)}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
        self._auth.add_auth(request)
        try:
            async with self.http.request(
                method,
                URL(url, encoded=True),
                data=io.BytesIO(body),
                headers=dict(request.headers),
                timeout=self._timeout,
            ) as answer:
                data = await answer.read()
                etag = answer.headers.get("ETag", "").strip('"')
                return Answer(answer.status, data, etag, answer.headers)
        except aiohttp.ClientConnectorError:
            return Answer(-1)  # certainly not begun
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError):
            return Answer(0)
