"""Conditional headers, as pure functions."""

from __future__ import annotations

import pytest

from moln_node.s3.conditions import (
    COPY_SOURCE_PREFIX,
    Verdict,
    delete_precondition,
    parse_date,
    read_verdict,
    write_precondition,
)
from moln_node.s3.errors import S3Error
from moln_node.store.model import Precondition

NOW_MS = 1_700_000_000_500
BEFORE, SAME, AFTER = (
    "Tue, 14 Nov 2023 22:13:19 GMT",
    "Tue, 14 Nov 2023 22:13:20 GMT",
    "Tue, 14 Nov 2023 22:13:21 GMT",
)


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({}, Verdict.SEND),
        ({"If-Match": '"abc"'}, Verdict.SEND),
        ({"If-Match": "abc"}, Verdict.SEND),
        ({"If-Match": '"x", W/"abc"'}, Verdict.SEND),
        ({"If-Match": "*"}, Verdict.SEND),
        ({"If-Match": '"x"'}, Verdict.FAILED),
        ({"If-None-Match": '"abc"'}, Verdict.NOT_MODIFIED),
        ({"If-None-Match": "*"}, Verdict.NOT_MODIFIED),
        ({"If-None-Match": '"x"'}, Verdict.SEND),
        ({"If-Modified-Since": BEFORE}, Verdict.SEND),
        ({"If-Modified-Since": SAME}, Verdict.NOT_MODIFIED),
        ({"If-Modified-Since": AFTER}, Verdict.NOT_MODIFIED),
        ({"If-Unmodified-Since": BEFORE}, Verdict.FAILED),
        ({"If-Unmodified-Since": SAME}, Verdict.SEND),
        ({"If-Unmodified-Since": AFTER}, Verdict.SEND),
        ({"If-Match": '"abc"', "If-Unmodified-Since": BEFORE}, Verdict.SEND),
        ({"If-None-Match": '"x"', "If-Modified-Since": AFTER}, Verdict.SEND),
        ({"If-None-Match": '"abc"', "If-Modified-Since": BEFORE}, Verdict.NOT_MODIFIED),
        ({"If-Match": '"x"', "If-None-Match": '"abc"'}, Verdict.FAILED),
        ({"If-Modified-Since": "yesterday"}, Verdict.SEND),
        ({"If-Unmodified-Since": "yesterday"}, Verdict.SEND),
    ],
)
def test_read_conditions_have_the_precedence_of_s3(headers: dict[str, str], verdict: Verdict) -> None:
    """Each condition, and each pair that S3 gives an order, comes to the documented outcome."""
    assert read_verdict(headers, "abc", NOW_MS) is verdict
    prefixed = {COPY_SOURCE_PREFIX + name: value for name, value in headers.items()}
    assert read_verdict(prefixed, "abc", NOW_MS, COPY_SOURCE_PREFIX) is verdict


def test_write_conditions_are_single_etags_without_quotes() -> None:
    """What the store is asked to hold is the bare etag or a star; a list is refused."""
    assert write_precondition({}) is None
    assert write_precondition({"If-None-Match": "*"}) == Precondition(if_none_match="*")
    assert write_precondition({"If-Match": '"abc"'}) == Precondition(if_match="abc")
    with pytest.raises(S3Error, match="one ETag"):
        write_precondition({"If-Match": '"a", "b"'})


def test_delete_conditions_take_size_and_time() -> None:
    """A delete may name the etag, the size and the second of the last change; nonsense is refused, not ignored."""
    assert delete_precondition({}) is None
    headers = {"If-Match": '"abc"', "x-amz-if-match-size": "12", "x-amz-if-match-last-modified-time": SAME}
    assert delete_precondition(headers) == Precondition(
        if_match="abc", if_size=12, if_modified_ms=NOW_MS - NOW_MS % 1000
    )
    for name in ("x-amz-if-match-size", "x-amz-if-match-last-modified-time"):
        with pytest.raises(S3Error) as caught:
            delete_precondition({name: "soon"})
        assert caught.value.code == "InvalidArgument"


def test_dates_are_read_in_both_forms() -> None:
    """HTTP and ISO 8601 dates mean the same second; what is neither is None."""
    assert parse_date(SAME) == parse_date("2023-11-14T22:13:20Z") == 1_700_000_000_000
    assert parse_date("2023-11-14T22:13:20.9Z") == 1_700_000_000_000
    assert parse_date("soon") is None
    assert parse_date(None) is None
