"""Conditional requests: the If-* headers of reads, copies, writes and deletes, with S3's precedence.

Pure. A read's conditions are decided here, against the record that was opened; a write's are only parsed here, and
decided where the write is (`Precondition`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from moln_node.s3.errors import S3Error
from moln_node.store.model import Precondition

if TYPE_CHECKING:
    from collections.abc import Mapping

COPY_SOURCE_PREFIX: Final = "x-amz-copy-source-"
_SECOND_MS: Final = 1000
_MAX_DIGITS: Final = 20


class Verdict(Enum):
    """What the conditions of a read come to."""

    SEND = "send"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


def read_verdict(headers: Mapping[str, str], etag: str, modified_ms: int, prefix: str = "") -> Verdict:
    """Hold the read conditions in `headers` (names begin with `prefix`) against an object.

    An If-Match that holds overrules If-Unmodified-Since, and an If-None-Match that holds overrules If-Modified-Since.
    A date that cannot be read is no condition, as RFC 9110 says.
    """
    if_match = headers.get(f"{prefix}If-Match")
    if if_match is not None:
        if not _matches(if_match, etag):
            return Verdict.FAILED
    elif (since := parse_date(headers.get(f"{prefix}If-Unmodified-Since"))) is not None and _whole(modified_ms) > since:
        return Verdict.FAILED
    if_none_match = headers.get(f"{prefix}If-None-Match")
    if if_none_match is not None:
        if _matches(if_none_match, etag):
            return Verdict.NOT_MODIFIED
    elif (since := parse_date(headers.get(f"{prefix}If-Modified-Since"))) is not None and _whole(modified_ms) <= since:
        return Verdict.NOT_MODIFIED
    return Verdict.SEND


def precondition_failed(condition: str) -> S3Error:
    """412, naming the condition that did not hold."""
    return S3Error("PreconditionFailed", Condition=condition)


def check_copy_source(headers: Mapping[str, str], etag: str, modified_ms: int) -> None:
    """Raise PreconditionFailed unless the x-amz-copy-source-if-* headers let this source be copied."""
    if read_verdict(headers, etag, modified_ms, COPY_SOURCE_PREFIX) is not Verdict.SEND:
        raise precondition_failed(f"{COPY_SOURCE_PREFIX}If-*")


def write_precondition(headers: Mapping[str, str]) -> Precondition | None:
    """What If-Match and If-None-Match demand of a put, a copy or a completion."""
    if_match, if_none_match = headers.get("If-Match"), headers.get("If-None-Match")
    if if_match is None and if_none_match is None:
        return None
    return Precondition(
        if_match=_one_etag(if_match, "If-Match"), if_none_match=_one_etag(if_none_match, "If-None-Match")
    )


def delete_precondition(headers: Mapping[str, str]) -> Precondition | None:
    """What If-Match and the x-amz-if-match-* headers demand of a delete."""
    return precondition_of(
        headers.get("If-Match"),
        headers.get("x-amz-if-match-size"),
        headers.get("x-amz-if-match-last-modified-time"),
    )


def precondition_of(etag: str | None, size: str | None, modified: str | None) -> Precondition | None:
    """The conditions of one delete, from headers or from an entry of a multi-object delete."""
    if etag is None and size is None and modified is None:
        return None
    if size is not None and (not size.isascii() or not size.isdigit() or len(size) > _MAX_DIGITS):
        raise S3Error(
            "InvalidArgument",
            "The size to match must be a number of bytes",
            ArgumentName="x-amz-if-match-size",
            ArgumentValue=size,
        )
    modified_ms = parse_date(modified)
    if modified is not None and modified_ms is None:
        raise S3Error(
            "InvalidArgument",
            "The last-modified time to match must be an HTTP or ISO 8601 date",
            ArgumentName="x-amz-if-match-last-modified-time",
            ArgumentValue=modified,
        )
    return Precondition(
        if_match=_one_etag(etag, "If-Match"),
        if_size=None if size is None else int(size),
        if_modified_ms=modified_ms,
    )


def parse_date(text: str | None) -> int | None:
    """Milliseconds since 1970 of an HTTP or ISO 8601 date, in whole seconds; None if it is absent or no date."""
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return int(moment.timestamp()) * _SECOND_MS
    except (OverflowError, ValueError):
        return None


def _whole(milliseconds: int) -> int:
    """Down to the second, which is all that HTTP dates say."""
    return milliseconds - milliseconds % _SECOND_MS


def _strip(tag: str) -> str:
    """An etag without quotes and without a weakness mark."""
    return tag.strip().removeprefix("W/").strip('"')


def _matches(header: str, etag: str) -> bool:
    """Whether an etag is in the list of a header, or the header is `*`."""
    return any(tag in ("*", etag) for tag in map(_strip, header.split(",")))


def _one_etag(header: str | None, name: str) -> str | None:
    """The single etag (or `*`) of a write's condition."""
    if header is None:
        return None
    tag = _strip(header)
    if not tag or "," in tag:
        raise S3Error("InvalidArgument", f"{name} takes one ETag or *", ArgumentName=name, ArgumentValue=header)
    return tag
