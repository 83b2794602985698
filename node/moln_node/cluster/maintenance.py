"""Maintenance of one node's data, beside its traffic: scrub, collect, find orphans, verify, repair, rewrite.

Called by port 9001's tasks. Each tells a `Report` how far it is, and ends when it is
done; cancelling it leaves everything as consistent as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.cluster import comparing, records
from moln_node.cluster.messages import Ask
from moln_node.cluster.quorum import merge
from moln_node.cluster.reassigning import Reassigning
from moln_node.cluster.rewriting import Rewriting
from moln_node.cluster.sight import Sight
from moln_node.store import orphans as store_orphans
from moln_node.store.errors import CorruptError, NoSuchBucketError
from moln_node.store.registers import Register, Space

if TYPE_CHECKING:
    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.walking import Scope
    from moln_node.store.report import Report
    from moln_node.store.scrub import Mode


async def scrub(cluster: Cluster, report: Report, *, mode: Mode = "deep", sample_percent: float = 1.0) -> None:
    """Read back what the node holds, now, and heal what is bad from another owner.

    Counts records, bodies, bytes, bad, versions with bad bytes that are healed, and those unhealed, with whatever else
    can't be. Each bad one is a finding.
    """
    await cluster.scrubbing.now(report, mode, sample_percent)


async def collect(local: LocalStore, report: Report) -> None:
    """Remove now every body file that nothing refers to. Counts bodies."""
    report.set(bodies=0)
    report.set(bodies=await local.store.collect())


async def orphans(local: LocalStore, report: Report, *, dry_run: bool = True) -> None:
    """Find body files that no record refers to, and remove them unless `dry_run`. Counts files, orphans, bytes."""
    await store_orphans.find(local.store, report, dry_run=dry_run)


async def repair(cluster: Cluster, report: Report, *, dry_run: bool = True) -> None:
    """Compare what this node owns with its other owners, and bring what any of them lacks unless `dry_run`.

    Counts registers that were compared, those that differ and that it is this node's to tell of, the rows and bytes
    that owners lack, registers brought to all owners, and those of which an owner does not answer. Each that differs is
    a finding.
    """
    counts = dict.fromkeys(("registers", "differing", "rows", "bytes", "repaired", "unanswered"), 0)
    report.set(**counts)
    async for page in comparing.held(cluster.members.own):
        now = cluster.members.now
        found, silent = await comparing.owners_have(
            now, [register for register in page if now.me in now.electorate(register).owners]
        )
        counts["registers"] += len(found)
        counts["unanswered"] += len(silent)
        for register in [one for one, theirs in found.items() if len(theirs) > 1]:
            lacking = await cluster.repair.lacking(register)
            if not lacking:
                continue
            counts["differing"] += 1
            counts["rows"] += sum(lack.rows for lack in lacking.values())
            counts["bytes"] += sum(lack.bytes for lack in lacking.values())
            words = [f"{name} lacks {lack.rows} versions, {lack.bytes} bytes" for name, lack in lacking.items()]
            report.found(f"{register.path}: {'; '.join(words)}")
            if not dry_run:
                counts["repaired"] += await cluster.repair.run(register)
        report.set(**counts)


async def reassign(local: LocalStore, cluster: Cluster, report: Report, scope: Scope, *, dry_run: bool = True) -> None:
    """Give objects the storage class that the rules say today, and bring their bytes to its place, unless `dry_run`.

    Those keep their class that a client asked for.

    Counts versions gone through of a total, those that rules would have in another class and that it is this node's to
    tell of, their bytes, those reassigned, and those of which too few owners answer. Each that differs is a finding.
    """
    await Reassigning(local, cluster, report, scope).run(dry_run=dry_run)


async def rewrite(local: LocalStore, cluster: Cluster, report: Report, scope: Scope, *, dry_run: bool = True) -> None:
    """Pack what is on this disk as its class says today, unless `dry_run`: compression, its level, deduplication.

    Counts versions gone through of a total, those packed otherwise, their bytes, what they took on the disk before and
    take after (an estimate in a dry run), and those that are damaged and stay. A dry run goes by the class that
    `reassign` would give, and each that differs is a finding.
    """
    await Rewriting(local, cluster, report, scope).run(dry_run=dry_run)


async def verify(local: LocalStore, report: Report, bucket: str, key: str, version_id: str | None = None) -> None:
    """Read this node's copy of an object back. Counts bytes, bad; NoSuchKeyError and the like where there is none."""
    row = local.store.buckets.get(bucket)
    if row is None:
        raise NoSuchBucketError(f"there is no bucket {bucket!r}")
    slot = None if version_id is None else records.slot_of(version_id)
    size = 0
    report.set(bytes=0, bad=0)
    sight = Sight(local)
    try:
        state = await sight.ask(Ask(Register(Space.OBJECTS, key, bucket, row.incarnation), slot))
        held = sight.held(records.live_row(merge({"": state}), version_id).version)
        if held is not None:
            async for block in local.store.read(held, 0, held.size):
                size += len(block)
                report.set(bytes=size, bad=0)
    except CorruptError as error:
        report.set(bytes=size, bad=1)
        report.found(f"{bucket}/{key}: {error}")
    finally:
        sight.close()
