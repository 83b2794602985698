"""Maintenance of one node's data, beside its traffic: scrub, collect, find orphans, verify, expire uploads.

Called by port 9001's tasks and by the node's own housekeeping. Each tells a `Report` how far it is, and ends when it is
done; cancelling it leaves everything as consistent as it was.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from moln_node.store import orphans as store_orphans
from moln_node.store.clock import wall_ms
from moln_node.store.errors import CorruptError, StoreError
from moln_node.store.steps import uploads

if TYPE_CHECKING:
    from moln_node.cluster.local import LocalObjects
    from moln_node.store.report import Report
    from moln_node.store.scrub import Mode

_DAY_MS: Final = 86_400_000
_HOUSEKEEPING_S: Final = 3600.0
_EXPIRE_AT_ONCE: Final = 16
_log = logging.getLogger("moln.maintenance")


async def scrub(objects: LocalObjects, report: Report, *, mode: Mode = "deep", sample_percent: float = 1.0) -> None:
    """Read back what the node holds. Counts records, bodies, bytes, bad; each bad one is a finding."""
    await objects.store.scrub(report, mode, sample_percent)


async def collect(objects: LocalObjects, report: Report) -> None:
    """Expire abandoned uploads, then remove every body file that nothing refers to. Counts uploads, bodies."""
    report.set(uploads=0, bodies=0)
    expired = await expire_uploads(objects)
    report.set(uploads=expired, bodies=0)
    removed = await objects.store.collect()
    report.set(uploads=expired, bodies=removed)


async def orphans(objects: LocalObjects, report: Report, *, dry_run: bool = True) -> None:
    """Find body files that no record refers to, and remove them unless `dry_run`. Counts files, orphans, bytes."""
    await store_orphans.find(objects.store, report, dry_run=dry_run)


async def verify(objects: LocalObjects, report: Report, bucket: str, key: str, version_id: str | None = None) -> None:
    """Read one object back. Counts bytes, bad; NoSuchKeyError and the like where there is none."""
    size = 0
    report.set(bytes=0, bad=0)
    try:
        async with objects.open(bucket, key, version_id) as reading:
            async for block in reading.read(0, reading.record.size):
                size += len(block)
                report.set(bytes=size, bad=0)
    except CorruptError as error:
        report.set(bytes=size, bad=1)
        report.found(f"{bucket}/{key}: {error}")


async def expire_uploads(objects: LocalObjects) -> int:
    """Abort uploads that began longer ago than the map allows; how many."""
    before_ms = wall_ms() - objects.limits.upload_expiry_days * _DAY_MS
    expired = 0
    while count := await objects.store.commit(lambda tx: uploads.expire(tx, before_ms, _EXPIRE_AT_ONCE)):
        expired += count
    return expired


async def keep_house(objects: LocalObjects) -> None:
    """Expire uploads every hour, for ever; ended by cancellation."""
    while True:
        try:
            expired = await expire_uploads(objects)
        except (StoreError, OSError) as error:
            _log.warning("abandoned uploads could not be expired, and will be tried again: %s", error)
        else:
            if expired:
                _log.info("aborted %d uploads that were begun and never completed", expired)
        await asyncio.sleep(_HOUSEKEEPING_S)
