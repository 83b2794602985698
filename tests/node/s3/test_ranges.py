"""Byte ranges, as pure functions."""

from __future__ import annotations

import pytest

from moln_node.s3.errors import S3Error
from moln_node.s3.ranges import parse_copy_range, parse_range


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=2-5", 2, 6),
        ("bytes=4-", 4, 10),
        ("bytes=-3", 7, 10),
        ("bytes=-30", 0, 10),
        ("bytes=9-100", 9, 10),
        (f"bytes=1-{'9' * 30}", 1, 10),
        (f"bytes=-{'9' * 30}", 0, 10),
        ("bytes= 2 - 3 ", 2, 4),
    ],
)
def test_a_range_is_cut_to_the_object(header: str, start: int, end: int) -> None:
    """First-last, open and suffix ranges name the right bytes, cut where the object ends."""
    span = parse_range(header, 10)
    assert span is not None
    assert (span.start, span.end, span.length) == (start, end, end - start)
    assert span.content_range == f"bytes {start}-{end - 1}/10"


@pytest.mark.parametrize(
    "header", [None, "", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "0-1"]
)
def test_what_is_no_single_range_is_ignored(header: str | None) -> None:
    """A header that is absent, malformed, backwards or several ranges asks for the whole object."""
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=-1", 0)]
)
def test_a_range_outside_is_416_and_tells_the_size(header: str, size: int) -> None:
    """No byte of the object in the range: InvalidRange, with the size where HTTP and S3 want it."""
    with pytest.raises(S3Error) as caught:
        parse_range(header, size)
    assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
    assert caught.value.headers["Content-Range"] == f"bytes */{size}"
    assert caught.value.extra["ActualObjectSize"] == size


def test_a_copy_range_names_both_ends_inside_the_source() -> None:
    """Copies take exact ranges only."""
    span = parse_copy_range("bytes=2-9", 10)
    assert (span.start, span.end) == (2, 10)
    for header in ("bytes=2-", "bytes=-2", "2-3", "bytes=a-b", "bytes=1-2,4-5", f"bytes=0-{'9' * 30}"):
        with pytest.raises(S3Error, match="must be of the form"):
            parse_copy_range(header, 10)
    for header in ("bytes=2-10", "bytes=5-4", "bytes=10-10"):
        with pytest.raises(S3Error) as caught:
            parse_copy_range(header, 10)
        assert caught.value.code == "InvalidRange"
