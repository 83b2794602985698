"""What happens to disks: they fill up, are lost, and lose their power. For tests, and for `moln-lab volume`.

Everything works on the lab's own volumes while the cluster runs. A disk that is wiped or cut is exchanged beneath its
pod (`swap`), whose containers then start again, as after a crash.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from moln_lab import block, cgroups, swap, volumes
from moln_lab.errors import LabError
from moln_lab.topology import Node, Topology

FILL = ".moln-lab-fill"
"""The file, in the volume's top folder, that takes up its space."""
_LEAST = 64 << 10
"""Bytes that are not worth another round of filling."""


class _Record(BaseModel):
    """What the driver writes beside an image (lab/csi/driver/pools.go)."""

    volume: str
    node: str
    namespace: str = ""
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as it was when it was looked at."""

    name: str
    """Of the PersistentVolume."""
    node: str
    namespace: str
    claim: str
    """The PersistentVolumeClaim that it was made for."""
    image: Path
    """The file that is the disk."""
    size: int
    """Bytes of the disk; the file system keeps some of them for itself."""
    used: int | None
    """Bytes in use, the file system's own included; unknown while it is not mounted."""
    mount: Path | None
    """Where it can be reached on this machine, while a pod uses it."""


def list_volumes(topology: Topology) -> list[Volume]:
    """Return all volumes, by node and claim."""
    found = []
    for node in topology.nodes:
        for record in volumes.pool(topology, node).mount.glob("[!.]*/volume.json"):
            with suppress(FileNotFoundError):  # it was deleted just now
                found.append(_look(record))
    return sorted(found, key=lambda volume: (volume.node, volume.namespace, volume.claim, volume.name))


def find(topology: Topology, name: str) -> Volume:
    """Return one volume, by the name of its PersistentVolume, or by its claim as CLAIM or NAMESPACE/CLAIM.

    Raises:
        LabError: None has that name, or several claims have.
    """
    everything = list_volumes(topology)
    found = [v for v in everything if name in {v.name, v.claim, f"{v.namespace}/{v.claim}"}]
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(f"{v.namespace}/{v.claim}" for v in everything) or "none"
        raise LabError(f"no volume is called {name!r}; there are: {known}")
    candidates = ", ".join(f"{v.namespace}/{v.claim} ({v.name})" for v in found)
    raise LabError(f"several volumes are called {name!r}: {candidates}; say which")


def fill(volume: Volume, leave: int = 0) -> None:
    """Take up the volume's space until only about `leave` bytes are free; pods go on running.

    The file that does it is allocated, not written, so it takes no space of this machine. A later call adjusts it.

    Raises:
        LabError: The volume isn't mounted, as no pod uses it.
    """
    mounted = _mounted(volume)
    with (mounted / FILL).open("ab") as file:
        surplus = _free(mounted) - leave
        if surplus < 0:
            file.truncate(max(0, file.tell() + surplus))
        while surplus >= _LEAST:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), surplus)
                surplus = _free(mounted) - leave
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                surplus //= 2  # the file system keeps a little for its own bookkeeping


def _free(mounted: Path) -> int:
    status = os.statvfs(mounted)
    return status.f_bavail * status.f_frsize


def unfill(volume: Volume) -> None:
    """Give back the space that `fill` took.

    Raises:
        LabError: The volume isn't mounted, as no pod uses it.
    """
    (_mounted(volume) / FILL).unlink(missing_ok=True)


def wipe(topology: Topology, volume: Volume) -> None:
    """Replace the disk by an empty one of the same size, and restart the containers that use it.

    Raises:
        LabError: Something other than a container uses it.
    """
    disk = _disk(topology, volume)
    with swap.halted(topology, [disk]):
        empty = disk.image.with_name("empty.img")
        block.make_xfs(empty, disk.image.stat().st_size)
        swap.exchange({disk: empty})


def power_cut(topology: Topology, *cut: Volume) -> None:
    """Cut the power of volumes: each comes back with only what had reached its device; their containers start again.

    The containers stand still first, then the images are copied (a reflink: one moment), then the containers are
    killed. So what a container had told anyone before it ended was written before the copy was taken: all of it that
    was synced is there, and nothing that was not synced need be.

    Raises:
        LabError: Something other than a container uses a volume.
    """
    disks = [_disk(topology, volume) for volume in cut]
    with swap.halted(topology, disks):
        swap.exchange({disk: _copy(disk) for disk in disks})


def power_cut_node(topology: Topology, node: Node) -> None:
    """Cut the power of a whole node: its programs end, and its volumes keep only what had reached their devices.

    Unlike after a mere kill, what was only in memory is lost. The node stays off, `moln-lab node start` boots it.
    """
    disks = [_disk(topology, volume) for volume in list_volumes(topology) if volume.node == node.name]
    swap.stop(lambda: cgroups.members(node.cgroup))
    copies = {disk: _copy(disk) for disk in disks}
    cgroups.kill(node.cgroup)
    for disk, copy in copies.items():
        for mount in reversed(block.mounts_of_image(disk.image)):
            block.unmount(mount.target)
        copy.rename(disk.image)


def _disk(topology: Topology, volume: Volume) -> swap.Disk:
    return swap.Disk(topology.node(volume.node), volume.image)


def _copy(disk: swap.Disk) -> Path:
    copy = disk.image.with_name("cut.img")
    block.reflink(disk.image, copy)
    return copy


def _look(file: Path) -> Volume:
    record = _Record.model_validate_json(file.read_bytes())
    image = file.with_name("disk.img")
    mounted = next((mount.target for mount in block.mounts_of_image(image)), None)
    used = None
    if mounted is not None:
        status = os.statvfs(mounted)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
    return Volume(
        name=record.volume,
        node=record.node,
        namespace=record.namespace,
        claim=record.claim,
        image=image,
        size=image.stat().st_size,
        used=used,
        mount=mounted,
    )


def _mounted(volume: Volume) -> Path:
    for mount in block.mounts_of_image(volume.image):
        return mount.target
    raise LabError(f"{volume.namespace}/{volume.claim} is not mounted on {volume.node}: no pod uses it there")
