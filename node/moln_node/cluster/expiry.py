"""The background work of lifecycle rules: walk the buckets that have any, remove what is due, abort what was abandoned.

Started by the process of every node, and done by the one whose turn it is (`turns`). Speaks to `Objects` as a client
would, each delete bound to the version that was judged: a key that was written meanwhile is left alone, and so is what
another node removed that sweeps at the same time. Memory is bounded by one key's versions.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import lifecycle
from moln_node.store.errors import (
    NoSuchBucketError,
    NoSuchUploadError,
    ObjectLockedError,
    PreconditionFailedError,
    StoreError,
)
from moln_node.store.model import Precondition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from moln_node.cluster.lifecycle import Rule
    from moln_node.cluster.objects import Objects
    from moln_node.store.model import Bucket, Record

_log = logging.getLogger("moln.lifecycle")
_PAGE: Final = 1000
_SECOND_MS: Final = 1000
INTERVAL_S: Final = 3600.0
_RETRY_S: Final = 60.0


@dataclass(slots=True)
class Swept:
    """What one walk did."""

    versions: int = 0
    uploads: int = 0
    failed: int = 0


async def run(
    objects: Objects,
    is_ours: Callable[[], Awaitable[bool]],
    clock_ms: Callable[[], Awaitable[int]],
    *,
    ended: Callable[[], None] = lambda: None,
    interval_s: float = INTERVAL_S,
) -> None:
    """Sweep every `interval_s` seconds until cancelled; one that fails, as before nodes find each other, sooner again.

    `is_ours` says whether this node is the one that does it for all, `clock_ms` what time it is; `ended` is told of
    each sweep that is done.
    """
    while True:
        try:
            if not await is_ours():
                await asyncio.sleep(interval_s)
                continue
            swept = await sweep(objects, await clock_ms())
        except StoreError as error:
            rest = min(interval_s, _RETRY_S)
            _log.warning("the lifecycle sweep stopped, and begins anew in %.0f s: %s", rest, error)
        else:
            rest = interval_s
            ended()
            if swept.versions or swept.uploads or swept.failed:
                _log.info(
                    "lifecycle: %d versions removed, %d uploads aborted, %d failed",
                    swept.versions,
                    swept.uploads,
                    swept.failed,
                )
        await asyncio.sleep(rest)


async def sweep(objects: Objects, now_ms: int) -> Swept:
    """Carry out every bucket's rules as they are due at `now_ms`."""
    swept = Swept()
    for bucket in await objects.buckets():
        document = bucket.settings.get(lifecycle.SETTING)
        if document is None:
            continue
        rules = lifecycle.read(document).rules
        try:
            for prefix in lifecycle.prefixes(rules):
                await _sweep_versions(objects, bucket, rules, prefix, now_ms, swept)
                await _sweep_uploads(objects, bucket, rules, prefix, now_ms, swept)
        except NoSuchBucketError:
            continue  # deleted meanwhile
    return swept


async def _sweep_versions(
    objects: Objects, bucket: Bucket, rules: Sequence[Rule], prefix: str, now_ms: int, swept: Swept
) -> None:
    async for versions in _keys(objects, bucket.name, prefix):
        # oldest first: a delete of the current version must not come before those that it would make younger
        for record in reversed(lifecycle.due(rules, versions, now_ms)):
            try:
                await _remove(objects, bucket, record, current=record is versions[0])
                swept.versions += 1
            except PreconditionFailedError:
                continue  # written meanwhile: the next sweep judges what is there then
            except ObjectLockedError:
                continue  # a later sweep comes when it is free
            except StoreError as error:
                swept.failed += 1
                _log.warning("lifecycle: %s/%r could not be removed: %s", bucket.name, record.key, error)


async def _keys(objects: Objects, bucket: str, prefix: str) -> AsyncIterator[list[Record]]:
    """Every key under a prefix, as the list of its versions, newest first."""
    versions: list[Record] = []
    after_key, after_version = "", None
    while True:
        page = await objects.list_versions(
            bucket, prefix=prefix, after_key=after_key, after_version=after_version, limit=_PAGE
        )
        for record in page.records:
            if versions and versions[0].key != record.key:
                yield versions
                versions = []
            versions.append(record)
        if page.next_key is None:
            break
        after_key, after_version = page.next_key, page.next_version
    if versions:
        yield versions


async def _remove(objects: Objects, bucket: Bucket, record: Record, *, current: bool) -> None:
    """Delete the current version as a client would, any other one (and a left-over marker) by its id."""
    judged = Precondition(
        if_match=record.etag or None, if_modified_ms=record.modified_ms - record.modified_ms % _SECOND_MS
    )
    by_id = not current or not record.etag
    await objects.delete(
        bucket.name, record.key, record.version_id if by_id else None, owner=bucket.owner, precondition=judged
    )


async def _sweep_uploads(
    objects: Objects, bucket: Bucket, rules: Sequence[Rule], prefix: str, now_ms: int, swept: Swept
) -> None:
    if not any(rule.enabled and rule.abort_days is not None for rule in rules):
        return
    after_key, after_upload = "", ""
    while True:
        page = await objects.uploads(
            bucket.name, prefix=prefix, after_key=after_key, after_upload=after_upload, limit=_PAGE
        )
        for upload in page.uploads:
            if not lifecycle.is_abandoned(rules, upload, now_ms):
                continue
            try:
                await objects.abort_upload(bucket.name, upload.key, upload.id)
                swept.uploads += 1
            except NoSuchUploadError:
                continue  # completed or aborted meanwhile
        if page.next_key is None:
            return
        after_key, after_upload = page.next_key, page.next_upload or ""
