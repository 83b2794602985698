"""Exchanging disks beneath running pods, without anyone seeing half of it. Called by `volume_faults` alone.

    with halted(...) as disks:    the node's kubelet and all processes that use the volume stand still
        ...                       copy images: nobody writes, and nobody is told anything
        exchange(disks, ...)      kill those processes, unmount, put the other image in place, mount it again
                                  then the kubelet goes on, and starts the containers again

Should the command be killed half way, the kubelet stays stopped, and both images are whole: `moln-lab up` takes such a
node for half dead and boots it.
"""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from moln_lab import block, cgroups
from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.holders import describe
from moln_lab.processes import ProcessTable
from moln_lab.progress import wait_for
from moln_lab.topology import Node, Topology

_PATIENCE = 30.0
_POLL = 0.02
_STANDING = frozenset("TtZXx")  # proc_pid_stat(5): stopped, traced, zombie, dead


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume's image and the node that may have it mounted."""

    node: Node
    image: Path


@dataclass(frozen=True, slots=True)
class _Place:
    """One mount of a disk, and the rights that its top folder had."""

    target: Path
    readonly: bool
    mode: int
    owner: tuple[int, int]


@contextmanager
def halted(topology: Topology, disks: Sequence[Disk]) -> Iterator[None]:
    """Let the processes that use the disks stand still, with nobody to start others.

    On leaving, those that live go on. While they stand, none of them is inside a system call, so none can have been
    told that something is written, and none can tell anyone, after a copy that lacks it was taken.

    Raises:
        LabError: They don't stop.
    """
    with ExitStack() as stack:
        for node in {disk.node.name: disk.node for disk in disks}.values():
            stack.enter_context(_stopped_kubelet(topology, node))

        def users() -> set[int]:
            return {pid for disk in disks for pid in _users(disk)}

        stack.callback(lambda: _signal(users(), signal.SIGCONT))
        stop(users)
        yield


def stop(members: Callable[[], set[int]]) -> None:
    """Stop processes with all their threads, and those they start meanwhile, and wait until they stand still.

    Raises:
        LabError: They don't.
    """

    def all_stand() -> bool:
        pids = members()
        _signal(pids, signal.SIGSTOP)
        return all(_stands(pid) for pid in pids)

    try:
        wait_for(all_stand, "stopping the processes", _PATIENCE, poll=_POLL)
    except LabError as error:
        raise LabError(f"{error}: {describe(pid for pid in members() if not _stands(pid))}") from error


def exchange(replacements: Mapping[Disk, Path]) -> None:
    """Kill whoever uses the disks, and put other images in their places, mounted where the disks were.

    Raises:
        LabError: Something else still uses a disk; all are mounted again as they were.
    """
    places = {disk: _places(disk) for disk in replacements}
    try:
        for disk in replacements:
            _take_down(disk)
        for disk, image in replacements.items():
            image.rename(disk.image)
    finally:
        for disk, mounted in places.items():
            _put_back(disk, mounted)


def _users(disk: Disk) -> set[int]:
    """Return the processes of containers that have the disk mounted.

    Only those of the disk's own node: an image build, say, may hold a copy of every mount of this machine.
    """
    devices = {mount.device for mount in block.mounts_of_image(disk.image)}
    return {pid for pid in cgroups.members(disk.node.cgroup) if _has_mounted(pid, devices)}


def _has_mounted(pid: int, devices: set[str]) -> bool:
    """Tell whether a process lives in a container (a mount namespace other than ours) with one of the devices."""
    process = Path(f"/proc/{pid}")
    with suppress(OSError):  # it ended, or is a zombie and has no mounts any more
        if (process / "ns/mnt").readlink() != Path("/proc/self/ns/mnt").readlink():
            return any(mount.device in devices for mount in block.parse_mountinfo((process / "mountinfo").read_text()))
    return False


@contextmanager
def _stopped_kubelet(topology: Topology, node: Node) -> Iterator[None]:
    """Keep a node's kubelet, where it runs, from starting containers meanwhile."""
    pid = ProcessTable(topology.state).pid(f"{node.name}.kubelet")
    kubelet = set() if pid is None else {pid}
    _signal(kubelet, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(kubelet, signal.SIGCONT)


def _take_down(disk: Disk) -> None:
    def unused() -> bool:
        users = _users(disk)
        _signal(users, signal.SIGKILL)
        return not users

    wait_for(unused, f"the end of the containers that use {disk.image}", _PATIENCE, poll=_POLL)
    for mount in reversed(block.mounts_of_image(disk.image)):
        block.unmount(mount.target)


def _places(disk: Disk) -> list[_Place]:
    """Tell where a disk is mounted, the oldest first; not those of a subfolder, which the kubelet makes anew."""
    found = []
    for mount in block.mounts_of_image(disk.image):
        if mount.root == "/":
            top = mount.target.stat()
            readonly = "ro" in mount.options.split(",")
            found.append(_Place(mount.target, readonly, top.st_mode & 0o7777, (top.st_uid, top.st_gid)))
    return found


def _put_back(disk: Disk, places: Iterable[_Place]) -> None:
    """Mount a disk where it was: the first place is where the driver staged it, the others are bound to that."""
    staged: Path | None = None
    for place in places:
        if staged is None:
            staged = place.target
            block.mount_image(disk.image, staged)
            # The kubelet gives a disk to its pod's group when the pod starts, not when only its container does.
            os.chown(staged, *place.owner)
            staged.chmod(place.mode)
        elif not any(mount.target == place.target for mount in block.mounts_of_image(disk.image)):
            run(["mount", "--bind", staged, place.target])
            if place.readonly:
                run(["mount", "-o", "remount,bind,ro", place.target])


def _stands(pid: int) -> bool:
    """Tell whether every thread of a process is stopped or gone."""
    try:
        stats = [(thread / "stat").read_text() for thread in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return not Path(f"/proc/{pid}").exists()  # only a thread has ended: look again
    return all(stat.rpartition(")")[2].split()[0] in _STANDING for stat in stats)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
