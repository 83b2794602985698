"""The condition keys that policies may name, and what a request has for each.

A key that S3 does not know is refused when the policy is put: a Deny that could never apply would be a trap. Some are
known and never present (tags of a service), because nothing here can set them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TAGGED = ("s3:existingobjecttag/", "s3:requestobjecttag/")


@dataclass(frozen=True, slots=True)
class Facts:
    """What conditions may ask of a request. Tags are None where they don't apply or are not known."""

    owner: str  # id of the caller's owner; empty for anonymous
    name: str
    remote: str
    secure: bool
    now: float
    headers: Mapping[str, str]
    query: Mapping[str, str]
    presigned: bool = False
    algorithm: str = ""
    version_id: str | None = None
    existing_tags: Mapping[str, str] | None = None
    request_tags: Mapping[str, str] | None = None


def _present(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else (value,)


def _header(name: str) -> Callable[[Facts], tuple[str, ...] | None]:
    return lambda facts: _present(facts.headers.get(name))


def _query(name: str) -> Callable[[Facts], tuple[str, ...] | None]:
    return lambda facts: _present(facts.query.get(name))


def _never(_: Facts) -> tuple[str, ...] | None:
    return None


def _copy_source(facts: Facts) -> tuple[str, ...] | None:
    source = facts.headers.get("x-amz-copy-source")
    return None if source is None else (source.removeprefix("/").partition("?")[0],)


def _remaining_days(facts: Facts) -> tuple[str, ...] | None:
    """How many days a version is to be retained from now on, as a put or a retention asks."""
    text = facts.headers.get("x-amz-object-lock-retain-until-date")
    try:
        until = None if text is None else datetime.fromisoformat(text.strip())
    except ValueError:
        return None  # such a request is refused in any case
    if until is None:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return (str(math.ceil((until.timestamp() - facts.now) / 86_400)),)


_VALUES: Mapping[str, Callable[[Facts], tuple[str, ...] | None]] = {
    "aws:currenttime": lambda facts: (datetime.fromtimestamp(facts.now, UTC).isoformat(),),
    "aws:epochtime": lambda facts: (str(int(facts.now)),),
    "aws:principalarn": lambda facts: (f"arn:aws:iam:::user/{facts.owner}",) if facts.owner else None,
    "aws:principaltype": lambda facts: ("User",) if facts.owner else ("Anonymous",),
    "aws:referer": _header("Referer"),
    "aws:securetransport": lambda facts: ("true" if facts.secure else "false",),
    "aws:sourceaccount": _never,
    "aws:sourcearn": _never,
    "aws:sourceip": lambda facts: _present(facts.remote or None),
    "aws:sourcevpc": _never,
    "aws:sourcevpce": _never,
    "aws:useragent": _header("User-Agent"),
    "aws:userid": lambda facts: _present(facts.owner or None),
    "aws:username": lambda facts: _present(facts.name or None),
    "s3:authtype": lambda facts: ("REST-QUERY-STRING" if facts.presigned else "REST-HEADER",) if facts.owner else None,
    "s3:delimiter": _query("delimiter"),
    "s3:if-match": _header("If-Match"),
    "s3:if-none-match": _header("If-None-Match"),
    "s3:locationconstraint": _never,
    "s3:max-keys": _query("max-keys"),
    "s3:object-lock-legal-hold": _header("x-amz-object-lock-legal-hold"),
    "s3:object-lock-mode": _header("x-amz-object-lock-mode"),
    "s3:object-lock-remaining-retention-days": _remaining_days,
    "s3:object-lock-retain-until-date": _header("x-amz-object-lock-retain-until-date"),
    "s3:prefix": _query("prefix"),
    "s3:requestobjecttagkeys": lambda facts: tuple(facts.request_tags) if facts.request_tags else None,
    "s3:signatureversion": lambda facts: _present(facts.algorithm or None) if facts.owner else None,
    "s3:versionid": lambda facts: _present(facts.version_id),
    "s3:x-amz-acl": _header("x-amz-acl"),
    "s3:x-amz-content-sha256": _header("x-amz-content-sha256"),
    "s3:x-amz-copy-source": _copy_source,
    "s3:x-amz-grant-full-control": _header("x-amz-grant-full-control"),
    "s3:x-amz-grant-read": _header("x-amz-grant-read"),
    "s3:x-amz-grant-read-acp": _header("x-amz-grant-read-acp"),
    "s3:x-amz-grant-write": _header("x-amz-grant-write"),
    "s3:x-amz-grant-write-acp": _header("x-amz-grant-write-acp"),
    "s3:x-amz-metadata-directive": _header("x-amz-metadata-directive"),
    "s3:x-amz-object-ownership": _header("x-amz-object-ownership"),
    "s3:x-amz-server-side-encryption": _header("x-amz-server-side-encryption"),
    "s3:x-amz-server-side-encryption-aws-kms-key-id": _header("x-amz-server-side-encryption-aws-kms-key-id"),
    "s3:x-amz-server-side-encryption-customer-algorithm": _header("x-amz-server-side-encryption-customer-algorithm"),
    "s3:x-amz-storage-class": _header("x-amz-storage-class"),
    "s3:x-amz-website-redirect-location": _header("x-amz-website-redirect-location"),
}


def known_key(key: str) -> str | None:
    """The key as conditions keep it: lower case, but for a tag's name; None if S3 has no such key."""
    prefix, slash, tag = key.partition("/")
    name = prefix.lower() + slash
    if slash:
        return name + tag if name in _TAGGED and tag else None
    return name if name in _VALUES else None


def values_of(key: str, facts: Facts) -> tuple[str, ...] | None:
    """What the request has for a key of `known_key`; None where it has nothing."""
    prefix, slash, tag = key.partition("/")
    if slash:
        tags = facts.existing_tags if prefix == "s3:existingobjecttag" else facts.request_tags
        return _present((tags or {}).get(tag))
    return _VALUES[prefix](facts)
