"""What each kind of maintenance is: the runners that the task board starts, over `moln_node.cluster.maintenance`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.cluster import maintenance
from moln_node.cluster.walking import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.local import LocalStore
    from moln_node.peer.tasks import Kind, Progress, Runner, TaskRequest


def runners(local: LocalStore, cluster: Cluster) -> Mapping[Kind, Runner]:
    """Every kind of maintenance that this release has."""

    async def scrub(request: TaskRequest, progress: Progress) -> None:
        await maintenance.scrub(cluster, progress, mode=request.mode, sample_percent=request.sample_percent)

    async def collect(_: TaskRequest, progress: Progress) -> None:
        await maintenance.collect(local, progress)

    async def orphans(request: TaskRequest, progress: Progress) -> None:
        await maintenance.orphans(local, progress, dry_run=request.dry_run)

    async def verify(request: TaskRequest, progress: Progress) -> None:
        await maintenance.verify(local, progress, request.bucket, request.key, request.version_id)

    async def repair(request: TaskRequest, progress: Progress) -> None:
        await maintenance.repair(cluster, progress, dry_run=request.dry_run)

    async def reassign(request: TaskRequest, progress: Progress) -> None:
        scope = Scope(request.bucket, request.prefix)
        await maintenance.reassign(local, cluster, progress, scope, dry_run=request.dry_run)

    async def rewrite(request: TaskRequest, progress: Progress) -> None:
        scope = Scope(request.bucket, request.prefix)
        await maintenance.rewrite(local, cluster, progress, scope, dry_run=request.dry_run)

    return {
        "scrub": scrub,
        "collect": collect,
        "orphans": orphans,
        "verify": verify,
        "repair": repair,
        "reassign": reassign,
        "rewrite": rewrite,
    }
