"""What each kind of maintenance does: the runners that the task board starts. Reads and repairs through the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_node.store.errors import CorruptError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.cluster.local import LocalObjects
    from moln_node.peer.tasks import Kind, Progress, Runner, TaskRequest


def runners(objects: LocalObjects) -> Mapping[Kind, Runner]:
    """Every kind of maintenance that this release has."""

    async def verify(request: TaskRequest, progress: Progress) -> None:
        await _verify(objects, request, progress)

    return {"verify": verify}


async def _verify(objects: LocalObjects, request: TaskRequest, progress: Progress) -> None:
    """Read one object to its end: every block is compared with its checksum."""
    read = 0
    async with objects.open(request.bucket, request.key, request.version_id) as reading:
        try:
            async for block in reading.read(0, reading.record.size):
                read += len(block)
                progress.set(objects=1, bytes=read, bad=0)
        except CorruptError as error:
            progress.set(objects=1, bytes=read, bad=1)
            progress.found(f"{request.bucket}/{request.key}: {error}")
        else:
            progress.set(objects=1, bytes=read, bad=0)
