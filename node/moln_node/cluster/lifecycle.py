"""Lifecycle rules of a bucket: the document, and what it says of a version, a key or an upload at a moment.

Pure. The wire writes the document (`moln_node.s3.lifecycle`) and shows when an object will go; `expiry` carries the
rules out. All times are milliseconds since 1970. As in S3, ages are counted in days and rounded up to midnight UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict

from moln_node.store.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moln_node.store.model import Record, Upload

SETTING: Final = "lifecycle"  # the name of the document in a bucket's settings
DAY_MS: Final = 24 * 3600 * 1000


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(_Document):
    """Which objects a rule speaks of: all that is given must hold. Sizes are exclusive bounds in bytes.

    `form` is how the client wrote it (a rule's own prefix, a filter, a filter with And), so that it gets it back so.
    """

    form: Literal["prefix", "filter", "and"] = "filter"
    prefix: str | None = None
    tags: dict[str, str] = {}
    larger_than: int | None = None
    smaller_than: int | None = None


class Rule(_Document):
    """One rule: its filter and what it asks for; None where it does not."""

    id: str
    enabled: bool
    filter: Filter = Filter()
    expire_days: int | None = None
    expire_date_ms: int | None = None
    expire_delete_markers: bool | None = None
    noncurrent_days: int | None = None
    newer_noncurrent: int | None = None
    abort_days: int | None = None


class Lifecycle(_Document):
    """Every rule of a bucket."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Expiry:
    """When an object goes, and by which rule."""

    at_ms: int
    rule: str


@lru_cache(maxsize=1024)
def read(document: str) -> Lifecycle:
    """The rules in a bucket's setting."""
    return Lifecycle.model_validate_json(document)


def midnight_after(start_ms: int, days: int) -> int:
    """`days` after `start_ms`, rounded up to midnight UTC."""
    return -(-(start_ms + days * DAY_MS) // DAY_MS) * DAY_MS


def applies(rule: Rule, record: Record) -> bool:
    """Whether the rule is enabled and its filter takes this version."""
    wanted = rule.filter
    return (
        rule.enabled
        and record.key.startswith(wanted.prefix or "")
        and (wanted.larger_than is None or record.size > wanted.larger_than)
        and (wanted.smaller_than is None or record.size < wanted.smaller_than)
        and all(record.attributes.tags.get(name) == value for name, value in wanted.tags.items())
    )


def expiry_of(rules: Iterable[Rule], record: Record) -> Expiry | None:
    """When the current version of a key goes, by the rule that comes first; None if no rule takes it."""
    moments = [
        Expiry(at_ms, rule.id)
        for rule in rules
        if applies(rule, record) and (at_ms := _expires_at(rule, _written_ms(record))) is not None
    ]
    return min(moments, key=lambda expiry: expiry.at_ms, default=None)


def _written_ms(record: Record) -> int:
    """When a version was written, for rules: Last-Modified, or its place in the order of versions where that is later.

    Last-Modified is one node's wall clock, which may have been far behind before the machine heard the time; versions
    are above all that the cloud had seen.
    """
    return max(record.modified_ms, record.version.milliseconds)


def _expires_at(rule: Rule, modified_ms: int) -> int | None:
    if rule.expire_days is not None:
        return midnight_after(modified_ms, rule.expire_days)
    return rule.expire_date_ms


def due(rules: Sequence[Rule], versions: Sequence[Record], now_ms: int) -> list[Record]:
    """Which versions of one key (all of them, newest first) are to go at `now_ms`.

    A current version among them is to be deleted as a client would delete it, every other one is to be removed.
    """
    if not versions:
        return []
    current, noncurrent = versions[0], versions[1:]
    gone: list[Record] = []
    if current.kind is Kind.OBJECT:
        expiry = expiry_of(rules, current)
        if expiry is not None and expiry.at_ms <= now_ms:
            gone.append(current)
    for newer, (version, replaced_by) in enumerate(zip(noncurrent, versions, strict=False)):
        if any(_is_stale(rule, version, _written_ms(replaced_by), newer, now_ms) for rule in rules):
            gone.append(version)
    if current.kind is Kind.DELETE_MARKER and not noncurrent and any(_drops(rule, current, now_ms) for rule in rules):
        gone.append(current)
    return gone


def _is_stale(rule: Rule, version: Record, noncurrent_since_ms: int, newer: int, now_ms: int) -> bool:
    """Whether a rule removes a version that `newer` other noncurrent ones are younger than."""
    return (
        rule.noncurrent_days is not None
        and applies(rule, version)
        and newer >= (rule.newer_noncurrent or 0)
        and midnight_after(noncurrent_since_ms, rule.noncurrent_days) <= now_ms
    )


def _drops(rule: Rule, marker: Record, now_ms: int) -> bool:
    """Whether a rule removes a delete marker behind which nothing is left."""
    if not applies(rule, marker):
        return False
    expires_at = _expires_at(rule, _written_ms(marker))
    return bool(rule.expire_delete_markers) or (expires_at is not None and expires_at <= now_ms)


def is_abandoned(rules: Iterable[Rule], upload: Upload, now_ms: int) -> bool:
    """Whether a rule aborts an upload that is still under way."""
    return any(
        rule.enabled
        and rule.abort_days is not None
        and upload.key.startswith(rule.filter.prefix or "")
        and midnight_after(upload.started_ms, rule.abort_days) <= now_ms
        for rule in rules
    )


def prefixes(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The fewest prefixes under which everything lies that an enabled rule can take."""
    fewest: list[str] = []
    for prefix in sorted({rule.filter.prefix or "" for rule in rules if rule.enabled}):
        if not (fewest and prefix.startswith(fewest[-1])):
            fewest.append(prefix)
    return tuple(fewest)
