"""The body of a request, block by block."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from moln_node.s3.auth.payload import plain
from moln_node.s3.auth.source import BLOCK, Source


async def test_the_rest_that_is_held_at_the_end_of_the_body_is_passed_on() -> None:
    """A body whose last block is short arrives whole, also when its end was read together with the block before."""
    loop = asyncio.get_running_loop()
    reader = StreamReader(BaseProtocol(loop), limit=8 * BLOCK, loop=loop)
    body = bytes(range(256)) * (BLOCK // 256) + b"the rest"
    reader.feed_data(body)
    reader.feed_eof()
    source = Source(reader, 5.0, lambda: None)
    assert b"".join([block async for block in plain(source, len(body), None)]) == body
