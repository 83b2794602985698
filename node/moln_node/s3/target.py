"""Which bucket and key a request names, from the bytes of its request line: nothing is normalised on the way.

Keys may hold "..", "//", "%2F" and newlines, so no URL library may touch the path. Pure; called by `moln_node.s3.app`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Target:
    """What a request line and its Host name. `path` is the path as sent; `pairs` the query, decoded, in order."""

    path: str
    bucket: str
    key: str
    pairs: tuple[tuple[str, str], ...]
    query: dict[str, str]  # the first value of each name


def _decode(text: str) -> str:
    if "%" not in text:
        # a raw byte above 0x7f reaches us as a surrogate; what is no UTF-8 is no name
        raw = text.encode("utf-8", "surrogateescape")
    else:
        raw = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "The URI is not UTF-8 once its percent-encoding is undone.") from None


def _pairs(query: str) -> Iterable[tuple[str, str]]:
    for piece in query.split("&"):
        if piece:
            name, _, value = piece.replace("+", " ").partition("=")
            yield _decode(name), _decode(value)


def bucket_of_host(host: str, domains: tuple[str, ...]) -> str:
    """The bucket that a virtual host names, or nothing."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    for domain in domains:
        bucket, dot, rest = name[: -len(domain)], name[-len(domain) - 1 : -len(domain)], name[-len(domain) :]
        if dot == "." and rest.lower() == domain.lower():
            return bucket[:-1]
    return ""


def parse_target(raw: str, host: str, domains: tuple[str, ...] = ()) -> Target:
    """Read a request target (`/bucket/key?query`, or the absolute form); S3Error InvalidURI."""
    if not raw.startswith("/"):
        scheme, separator, rest = raw.partition("://")
        if not separator or "/" in scheme:
            raise S3Error("InvalidURI")
        raw = "/" + rest.partition("/")[2]
    path, _, query = raw.partition("?")
    pairs = tuple(_pairs(query)) if query else ()
    first: dict[str, str] = {}
    for name, value in pairs:
        first.setdefault(name, value)
    decoded = _decode(path)
    bucket = bucket_of_host(host, domains) if domains else ""
    if bucket:
        key = decoded[1:]
    else:
        bucket, _, key = decoded[1:].partition("/")
    return Target(path, bucket, key, pairs, first)
