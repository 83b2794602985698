"""File systems in files: sparse XFS images on loop devices, and what this machine has mounted.

The floor that `moln_lab.disk` (crash tests) and `moln_lab.volumes` (the cluster's volumes) stand on.
Everything here is read back from the kernel (/proc/self/mountinfo, /sys/block), never from memory, so that what a
killed process left behind is found again. It runs mount, umount and mkfs.xfs, needs root, and touches only the paths
that it is given.
"""

import fcntl
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.holders import describe, users_of_path
from moln_lab.progress import wait_for

SMALLEST_XFS = 300 << 20
"""Bytes; mkfs.xfs refuses anything smaller."""

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_RELEASE_TIMEOUT = 30.0
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    device: str
    """Major:minor of the file system's device."""
    root: str
    """Which directory of the file system is mounted: "/", or another for a bind mount."""
    target: Path
    options: str
    """Of this mount alone (ro, nosuid, ...), not of the file system."""
    fstype: str
    source: str


def parse_mountinfo(text: str) -> list[Mount]:
    """Read mountinfo (proc_pid_mountinfo(5)); the oldest mount comes first."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        tail = fields.index("-", 6)
        found.append(
            Mount(
                device=fields[2],
                root=_unescape(fields[3]),
                target=Path(_unescape(fields[4])),
                options=fields[5],
                fstype=fields[tail + 1],
                source=_unescape(fields[tail + 2]),
            ),
        )
    return found


def _unescape(field: str) -> str:
    """Undo the octal escapes for space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def mounts() -> list[Mount]:
    """What is mounted in our mount namespace, the oldest first."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text())


def loop_devices() -> dict[str, Path]:
    """The loop devices in use, by major:minor, each with its backing file.

    A file that was deleted or replaced since is named by the kernel with " (deleted)" behind it, and so here.
    """
    found = {}
    for device in Path("/sys/block").glob("loop*"):
        # A device that is let go while we look has no such files any more.
        with suppress(FileNotFoundError):
            backing = (device / "loop/backing_file").read_text().rstrip("\n")
            found[(device / "dev").read_text().strip()] = Path(backing)
    return found


def mounts_of_image(image: Path) -> list[Mount]:
    """Where the file system in `image` is mounted, bind mounts included, the oldest first."""
    devices = {device for device, backing in loop_devices().items() if backing == image}
    return [mount for mount in mounts() if mount.device in devices]


def make_xfs(image: Path, size: int) -> None:
    """Make a sparse file of `size` bytes with an empty XFS in it, in one step: after a crash it is whole or absent.

    Raises:
        LabError: `size` is less than XFS can be (300 MiB), or mkfs.xfs failed.
    """
    if size < SMALLEST_XFS:
        raise LabError(f"{image}: {size} bytes is too small for XFS; ask for {SMALLEST_XFS} or more")
    unfinished = image.with_name(image.name + ".new")
    unfinished.unlink(missing_ok=True)
    with unfinished.open("wb") as file:
        file.truncate(size)
    run(["mkfs.xfs", "-q", "-f", unfinished])
    unfinished.rename(image)


def mount_image(image: Path, target: Path) -> None:
    """Mount the file system in `image` at `target`; nothing happens when it is there already.

    mount(8) picks a free loop device and sets its autoclear flag, so the device goes when the last mount goes.
    Discard makes freed space free again in the file below; nouuid lets it be mounted while an older state of it
    still is, in the mount namespace of a process that will end one day.
    """
    target.mkdir(parents=True, exist_ok=True)
    if any(mount.target == target for mount in mounts_of_image(image)):
        return
    run(["mount", "-t", "xfs", "-o", "loop,discard,nouuid", image, target])


def unmount(target: Path) -> None:
    """Unmount `target`, waiting a little for a process that is on its way out.

    Raises:
        LabError: something still uses it after 30 s; the message names the processes.
    """

    def gone() -> bool:
        with suppress(LabError):
            run(["umount", target])
            return True
        return not any(mount.target == target for mount in mounts())

    try:
        wait_for(gone, f"unmounting {target}", _RELEASE_TIMEOUT, poll=_POLL)
    except LabError as error:
        raise LabError(f"{error}; in use by {describe(users_of_path(target))}") from error


def reflink(source: Path, target: Path) -> None:
    """Copy `source` as it is at one moment, sharing its blocks (FICLONE): milliseconds, whatever the size.

    XFS holds the file's lock throughout, so a write that runs beside it is in the copy whole or not at all.
    """
    with source.open("rb") as original, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
        except OSError as error:
            raise LabError(f"{source}: can't be reflinked ({error.strerror}); it must lie on XFS") from error


def release_under(directory: Path) -> None:
    """Unmount everything that lies under `directory` or comes from an image there; the newest first.

    The way back from any state, also after kill -9: what there is to undo is read from the kernel. Loop devices that
    never got as far as a mount are detached too. Files stay.

    Raises:
        LabError: a process still uses one of them.
    """
    while held := mounts_to_release(directory, mounts(), loop_devices()):
        unmount(held[0].target)

    def detached() -> bool:
        stray = [device for device, backing in loop_devices().items() if backing.is_relative_to(directory)]
        for device in stray:
            name = Path(f"/sys/dev/block/{device}").resolve().name
            with suppress(LabError):  # autoclear may have been quicker
                run(["losetup", "--detach", f"/dev/{name}"])
        return not stray

    wait_for(detached, f"letting go of the loop devices below {directory}", _RELEASE_TIMEOUT, poll=_POLL)


def mounts_to_release(directory: Path, table: Iterable[Mount], loops: dict[str, Path]) -> list[Mount]:
    """Choose the mounts that belong to `directory`, in the order in which they can be undone."""
    owned = {device for device, backing in loops.items() if backing.is_relative_to(directory)}
    return [m for m in table if m.device in owned or m.target.is_relative_to(directory)][::-1]
