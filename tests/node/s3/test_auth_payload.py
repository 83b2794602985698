"""Bodies: every framing that clients use, and every way in which a body can differ from what was declared."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given
from hypothesis import strategies as st

from moln_node.s3.auth import sigv4
from moln_node.s3.auth.authenticate import ChunkSigning
from moln_node.s3.auth.keyring import derive
from moln_node.s3.auth.payload import Chunked, plain
from moln_node.s3.auth.source import BLOCK, Source
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = "20130524/us-east-1/s3/aws4_request"
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
SIGNING = ChunkSigning(derive(SECRET, "20130524", "us-east-1", "s3"), "20130524T000000Z", SCOPE, SEED)
PUBLISHED = (
    (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
)


def connection(*pieces: bytes, ends: bool = True) -> StreamReader:
    """What aiohttp gives for a request's body, which comes in these pieces, one a turn of the loop, and then ends."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    reader = StreamReader(protocol, 2**16, loop=loop)
    left = [piece for piece in pieces if piece]

    def feed() -> None:
        if left:
            reader.feed_data(left.pop(0))
            loop.call_soon(feed)
        elif ends:
            reader.feed_eof()

    loop.call_soon(feed)
    return reader


def source(*pieces: bytes) -> Source:
    """A source over these pieces."""
    return Source(connection(*pieces), 5, lambda: None)


async def collect(blocks: AsyncIterator[bytes]) -> bytes:
    """Everything that comes, in blocks that are bounded."""
    found = []
    async for block in blocks:
        assert 0 < len(block) <= 2 * BLOCK
        found.append(block)
    return b"".join(found)


def framed(chunks: Sequence[tuple[bytes, str]], tail: bytes = b"\r\n") -> bytes:
    """Chunks with their signatures (or none), as they are on the wire."""
    pieces = [
        f"{len(data):x}".encode()
        + (f";chunk-signature={signature}".encode() if signature else b"")
        + b"\r\n"
        + data
        + (b"\r\n" if data else b"")
        for data, signature in chunks
    ]
    return b"".join(pieces) + tail


def published() -> bytes:
    """The body of AWS's example of a chunked upload."""
    return framed([(b"a" * size, signature) for size, signature in PUBLISHED])


def signed(text: str, data: bytes, previous: str) -> str:
    """The signature of a chunk or of trailers."""
    empty = f"{sigv4.EMPTY_SHA256}\n" if text.endswith("PAYLOAD") else ""
    return sigv4.sign(
        SIGNING.signing_key,
        f"{text}\n{SIGNING.amz_date}\n{SCOPE}\n{previous}\n{empty}{hashlib.sha256(data).hexdigest()}",
    )


async def test_published_chunked_example() -> None:
    """AWS's own chunked upload decodes to its 66,560 bytes, with every published signature."""
    body = Chunked(source(published()), 66560, SIGNING, None)
    assert await collect(body.stream()) == b"a" * 66560


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"ad80", b"ad81", "SignatureDoesNotMatch"),
        (b"b6c6", b"b6c7", "SignatureDoesNotMatch"),
        (b"aaa\r\n400", b"aab\r\n400", "SignatureDoesNotMatch"),
        (b"10000;", b"10001;", "InvalidRequest"),
        (b"10000;", b"xyz;", "InvalidRequest"),
        (b"10000;chunk-signature", b"10000;chunk-sig", "SignatureDoesNotMatch"),
        (b"0;chunk-signature=b6", b"", "InvalidRequest"),
        (b"\r\n0;chunk", b"", "InvalidRequest"),
    ],
)
async def test_tampered_chunks(old: bytes, new: bytes, code: str) -> None:
    """Any change of a signed body is found before it ends."""
    body = Chunked(source(published().replace(old, new, 1)), 66560, SIGNING, None)
    with pytest.raises(S3Error) as caught:
        await collect(body.stream())
    assert caught.value.code in {code, "IncompleteBody"}


@pytest.mark.parametrize("size", [66559, 66561])
async def test_declared_length_is_kept(size: int) -> None:
    """Chunks of another total than x-amz-decoded-content-length are refused."""
    with pytest.raises(S3Error, match=str(size)) as caught:
        await collect(Chunked(source(published()), size, SIGNING, None).stream())
    assert caught.value.code == "IncompleteBody"


async def test_small_chunk_before_the_last() -> None:
    """Only the last chunk with bytes may have fewer than 8 KiB, as AWS has it, where chunks are signed."""
    one = signed("AWS4-HMAC-SHA256-PAYLOAD", b"x", SEED)
    two = signed("AWS4-HMAC-SHA256-PAYLOAD", b"y", one)
    with pytest.raises(S3Error) as caught:
        await collect(Chunked(source(framed([(b"x", one), (b"y", two)])), 2, SIGNING, None).stream())
    assert caught.value.code == "InvalidChunkSizeError"


async def test_signed_trailers() -> None:
    """Signed trailers are taken when their signature is right, and refused when one bit of them is not."""
    one = signed("AWS4-HMAC-SHA256-PAYLOAD", b"data", SEED)
    end = signed("AWS4-HMAC-SHA256-PAYLOAD", b"", one)
    trailer = b"x-amz-checksum-crc32c:sOO8/Q==\n"
    last = signed("AWS4-HMAC-SHA256-TRAILER", trailer, end)
    tail = trailer.replace(b"\n", b"\r\n") + f"x-amz-trailer-signature:{last}\r\n\r\n".encode()
    wire = framed([(b"data", one), (b"", end)], tail)
    body = Chunked(source(wire), 4, SIGNING, frozenset({"x-amz-checksum-crc32c"}))
    assert await collect(body.stream()) == b"data"
    assert body.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
    body = Chunked(source(wire.replace(b"sOO8", b"sOO9")), 4, SIGNING, frozenset({"x-amz-checksum-crc32c"}))
    with pytest.raises(S3Error) as caught:
        await collect(body.stream())
    assert caught.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("tail", "announced", "code"),
    [
        (b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", {"x-amz-checksum-crc32"}, None),
        (b"x-amz-checksum-crc32:AAAAAA==\r\n", {"x-amz-checksum-crc32"}, None),
        (b"\r\n", {"x-amz-checksum-crc32"}, "MalformedTrailerError"),
        (b"", {"x-amz-checksum-crc32"}, "MalformedTrailerError"),
        (b"x-amz-checksum-sha1:AA\r\n\r\n", {"x-amz-checksum-crc32"}, "MalformedTrailerError"),
        (b"no colon\r\n\r\n", {"x-amz-checksum-crc32"}, "MalformedTrailerError"),
        (b"a:" + b"x" * 9000 + b"\r\n\r\n", {"a"}, "InvalidRequest"),
        (b"\r\n", None, None),
        (b"", None, None),
        (b"more", None, "MalformedTrailerError"),
    ],
)
async def test_unsigned_trailers(tail: bytes, announced: set[str] | None, code: str | None) -> None:
    """Trailers must be those that x-amz-trailer announced: all of them, and no others."""
    body = Chunked(
        source(framed([(b"data", ""), (b"", "")], tail)), 4, None, None if announced is None else frozenset(announced)
    )
    if code is None:
        assert await collect(body.stream()) == b"data"
    else:
        with pytest.raises(S3Error) as caught:
            await collect(body.stream())
        assert caught.value.code == code


async def test_plain_bodies() -> None:
    """A body without framing has the length and the digest that were declared, or it is refused."""
    digest = hashlib.sha256(b"abc").hexdigest()
    assert await collect(plain(source(b"a", b"bc"), 3, digest)) == b"abc"
    for size, sha256, code in ((4, digest, "IncompleteBody"), (3, "0" * 64, "XAmzContentSHA256Mismatch")):
        with pytest.raises(S3Error) as caught:
            await collect(plain(source(b"abc"), size, sha256))
        assert caught.value.code == code


async def test_silent_client_is_given_up() -> None:
    """A client that sends nothing for the idle time gets RequestTimeout."""
    silent = connection(ends=False)
    with pytest.raises(S3Error) as caught:
        await collect(plain(Source(silent, 0.01, lambda: None), 3, None))
    assert caught.value.code == "RequestTimeout"


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(bounds)]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.lists(st.integers(0, 10000), max_size=30))
def test_any_chunks_in_any_pieces(chunks: list[bytes], places: list[int]) -> None:
    """However a body is cut into chunks and packets, what was sent is what comes out."""
    data = b"".join(chunks)
    wire = framed([*((chunk, "") for chunk in chunks), (b"", "")])

    async def run() -> bytes:
        return await collect(Chunked(source(*cut(wire, places)), len(data), None, None).stream())

    assert asyncio.run(run()) == data


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 500))
def test_any_bytes_as_chunks(wire: bytes, signs: bool, size: int) -> None:
    """Whatever bytes are sent as chunks, they are decoded or refused; nothing else happens."""

    async def run() -> bytes:
        body = Chunked(source(wire), size, SIGNING if signs else None, frozenset({"a"}))
        return await collect(body.stream())

    try:
        length, status = len(asyncio.run(run())), 400
    except S3Error as error:
        length, status = size, error.status
    assert length == size
    assert 400 <= status < 500
