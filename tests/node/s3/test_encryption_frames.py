"""The format of an encrypted body: any range comes back, and nothing that was moved, cut or exchanged is served."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moln_node.s3.sse import envelope, frames
from moln_node.s3.sse.envelope import Method
from moln_node.store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

KEY = bytes(range(32))
SIZES = [0, 1, frames.FRAME - 1, frames.FRAME, frames.FRAME + 1, 3 * frames.FRAME, 3 * frames.FRAME + 17]


async def _blocks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def sealed(data: bytes, *, key: bytes = KEY, part: int = 0, block: int = 10_000) -> bytes:
    """A whole body, encrypted."""

    async def run() -> bytes:
        return b"".join([piece async for piece in frames.seal(_blocks(data, block), key, part)])

    return asyncio.run(run())


def opened(body: bytes, size: int, span: range | None = None, *, key: bytes = KEY, part: int = 0) -> bytes:
    """A range of an encrypted body, in the clear."""

    def read(start: int, end: int) -> AsyncIterator[bytes]:
        return _blocks(body[start:end], 70_001)

    async def run() -> bytes:
        pieces = frames.unseal(read, 0, size, key, part, range(size) if span is None else span)
        return b"".join([piece async for piece in pieces])

    return asyncio.run(run())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [7_777, 1 << 20])
def test_what_goes_in_comes_out(size: int, block: int) -> None:
    """Whatever the pieces that the bytes come in; and the length is known beforehand, of an empty body too."""
    data = os.urandom(size)
    body = sealed(data, block=block)
    assert len(body) == frames.sealed_size(size)
    assert opened(body, size) == data
    assert size < 16 or data[:16] not in body


@given(st.integers(0, 200_000), st.data())
@settings(max_examples=60, deadline=None)
def test_any_range_comes_back(size: int, data: st.DataObject) -> None:
    """A range is that slice of the whole."""
    plain = bytes(position * 31 % 251 for position in range(size))
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    assert opened(sealed(plain), size, range(start, end)) == plain[start:end]


def test_a_range_reads_only_its_frames() -> None:
    """A byte at the end of a large body costs its header and one frame."""
    size = 10 * frames.FRAME
    body = sealed(bytes(size))
    asked: list[int] = []

    def read(start: int, end: int) -> AsyncIterator[bytes]:
        asked.append(end - start)
        return _blocks(body[start:end], 4096)

    async def run() -> bytes:
        return b"".join([piece async for piece in frames.unseal(read, 0, size, KEY, 0, range(size - 1, size))])

    assert asyncio.run(run()) == b"\0"
    assert asked == [frames.HEADER_BYTES, frames.FRAME + 16]


def _swap(body: bytes) -> bytes:
    first, second = frames.HEADER_BYTES, frames.HEADER_BYTES + frames.FRAME + 16
    third = second + frames.FRAME + 16
    return body[:first] + body[second:third] + body[first:second] + body[third:]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda body: body[:100] + bytes([body[100] ^ 1]) + body[101:], id="a bit flips"),
        pytest.param(_swap, id="two frames change places"),
        pytest.param(lambda body: body[: -frames.FRAME - 16], id="cut off at a frame"),
        pytest.param(lambda body: body[:-1], id="cut off"),
        pytest.param(lambda body: body[:10] + bytes([body[10] ^ 1]) + body[11:], id="another salt"),
        pytest.param(lambda body: b"plain" + body[5:], id="no header"),
        pytest.param(lambda _: b"", id="nothing left"),
    ],
)
def test_harm_is_seen(harm: Callable[[bytes], bytes]) -> None:
    """Whatever is not what was encrypted in its place is refused."""
    size = 3 * frames.FRAME
    with pytest.raises(CorruptError):
        opened(harm(sealed(bytes(size))), size)


def test_a_shorter_record_does_not_cut_a_body_off() -> None:
    """A body of four frames is not served as one of three, even if its record says so."""
    body = sealed(bytes(4 * frames.FRAME))
    with pytest.raises(CorruptError):
        opened(body, 3 * frames.FRAME)


def test_a_body_opens_only_as_itself() -> None:
    """The same bytes under another key, or as another part, are refused."""
    body = sealed(b"bytes", part=1)
    assert opened(body, 5, part=1) == b"bytes"
    with pytest.raises(CorruptError):
        opened(body, 5, part=2)
    with pytest.raises(CorruptError):
        opened(body, 5, part=1, key=bytes(32))


def test_equal_bytes_do_not_look_alike() -> None:
    """Each body has a salt of its own, under the same key too."""
    assert sealed(b"bytes")[frames.HEADER_BYTES :] != sealed(b"bytes")[frames.HEADER_BYTES :]


def test_an_envelope_opens_only_where_it_was_made() -> None:
    """With its own key, for its own object, in its own role; and its text does not hold the data key."""
    made, data_key = envelope.wrap(Method.NAMED, "id", KEY, "bucket", "key")
    found = envelope.read(envelope.write(made))
    assert envelope.unwrap(found, KEY, "bucket", "key") == data_key
    for wrong in [
        (found, bytes(32), "bucket", "key"),
        (found, b"", "bucket", "key"),
        (found, KEY, "bucket", "other"),
        (found, KEY, "other", "key"),
        (envelope.Envelope(Method.MASTER, "id", found.wrapped), KEY, "bucket", "key"),
        (envelope.Envelope(Method.NAMED, "other", found.wrapped), KEY, "bucket", "key"),
        (envelope.Envelope(Method.NAMED, "id", b""), KEY, "bucket", "key"),
    ]:
        with pytest.raises(envelope.WrongKeyError):
            envelope.unwrap(*wrong)
