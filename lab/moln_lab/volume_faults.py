"""What happens to disks: they fill up, are lost, and lose their power. For tests, and for `moln-lab volume`.

Everything works on the lab's own volumes while the cluster runs. Wiping and cutting change a volume beneath a running
pod: its node's kubelet is stopped for that moment, the containers that have the volume mounted are killed, the disk is
swapped, and the kubelet goes on and starts them again, as after a crash. Should the command itself be killed in
between, that kubelet stays stopped: `moln-lab node kill` and `start` bring the node back, with either disk.
"""

import errno
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from moln_lab import block, cgroups, volumes
from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.processes import ProcessTable
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
    """Replace the disk by an empty one of the same size, and restart the containers that use it."""
    empty = volume.image.with_name("empty.img")
    block.make_xfs(empty, volume.image.stat().st_size)
    _swap(topology, [(volume, empty)])


def power_cut(topology: Topology, *cut: Volume) -> None:
    """Cut the power of volumes: each comes back with only what had reached its device at that moment.

    The images are copied first, while writers run, each at one moment (a reflink); then the containers are killed. So
    of what was acknowledged before this call, all that was synced is there, and nothing else need be.
    """
    copies = []
    for volume in cut:
        copy = volume.image.with_name("cut.img")
        block.reflink(volume.image, copy)
        copies.append((volume, copy))
    _swap(topology, copies)


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


def _swap(topology: Topology, replacements: Sequence[tuple[Volume, Path]]) -> None:
    """Put other images in the volumes' places, mounted where they were, with nobody looking."""
    nodes = {volume.node: topology.node(volume.node) for volume, _ in replacements}
    with ExitStack() as stack:
        for node in nodes.values():
            stack.enter_context(_stopped_kubelet(topology, node))
        taken = [(_take_down(nodes[volume.node], volume), volume, image) for volume, image in replacements]
        for mounts, volume, image in taken:
            image.rename(volume.image)
            _put_back(volume, mounts)


@contextmanager
def _stopped_kubelet(topology: Topology, node: Node) -> Iterator[None]:
    """Keep a node's kubelet, where it runs, from starting containers meanwhile."""
    pid = ProcessTable(topology.state).pid(f"{node.name}.kubelet")
    if pid is None:
        yield
        return
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class _Place:
    """One mount of a volume, and the rights that its top folder had."""

    target: Path
    readonly: bool
    mode: int
    owner: tuple[int, int]


def _take_down(node: Node, volume: Volume) -> list[_Place]:
    """Kill the containers that have the volume, and unmount it everywhere; tell where it was, the oldest first."""
    mounts = block.mounts_of_image(volume.image)
    places = [_place(mount) for mount in mounts if mount.root == "/"]

    def unused() -> bool:
        using = {pid for device in {m.device for m in mounts} for pid in block.processes_with_mount(device)}
        mine = using & cgroups.members(node.cgroup)
        for pid in mine:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not mine

    if not block.wait_until(unused):
        raise LabError(f"{volume.name}: containers on {node.name} that use it outlive SIGKILL")
    for mount in reversed(mounts):  # those of a subfolder, too: the kubelet makes them anew
        block.unmount(mount.target)
    return places


def _place(mount: block.Mount) -> _Place:
    status = mount.target.stat()
    return _Place(
        mount.target, "ro" in mount.options.split(","), status.st_mode & 0o7777, (status.st_uid, status.st_gid)
    )


def _put_back(volume: Volume, places: Iterable[_Place]) -> None:
    """Mount the volume where it was: the first place is where the driver staged it, the others are bound to that."""
    staged: Path | None = None
    for place in places:
        if staged is None:
            staged = place.target
            block.mount_image(volume.image, staged)
            # The kubelet gives a disk to its pod's group when the pod starts, not when only its container does.
            os.chown(staged, *place.owner)
            staged.chmod(place.mode)
            continue
        run(["mount", "--bind", staged, place.target])
        if place.readonly:
            run(["mount", "-o", "remount,bind,ro", place.target])
