"""The lab's own control groups: what was started in one is found again in it, whatever became of its parent.

Version 1 hierarchies only. Called by `processes` (put a program in), `hosts` and `faults` (kill all of a host at
once), and `lab` (nothing escapes `down`). Touches only the groups whose paths it is given.
"""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from moln_lab.errors import LabError

_ROOT = Path("/sys/fs/cgroup")
_PATIENCE = 20.0
_POLL = 0.02


def hierarchies() -> list[Path]:
    """Return the mount points of this machine's version 1 hierarchies.

    Raises:
        LabError: It has none.
    """
    found = [
        Path(target)
        for _, target, kind, *_ in (line.split(" ") for line in Path("/proc/mounts").read_text().splitlines())
        if kind == "cgroup" and Path(target).is_relative_to(_ROOT)
    ]
    if not found:
        raise LabError(
            "the lab needs cgroup version 1 hierarchies below /sys/fs/cgroup, and this machine has none; "
            "boot it with systemd.unified_cgroup_hierarchy=0"
        )
    return found


def create(group: str) -> None:
    """Make a group in every hierarchy, able to hold processes; nothing happens where it is there."""
    for hierarchy in hierarchies():
        folder = hierarchy
        for part in Path(group).parts:
            folder = folder / part
            folder.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                # A new cpuset is empty, and nothing can run in it until it names processors and memory.
                file = folder / setting
                if file.exists() and not file.read_text().strip():
                    file.write_text((folder.parent / setting).read_text())


def join(group: str, pid: int) -> None:
    """Put a process into a group in every hierarchy."""
    for hierarchy in hierarchies():
        (hierarchy / group / "cgroup.procs").write_text(str(pid))


def members(group: str) -> set[int]:
    """Return the ids of all processes in a group or below it, in any hierarchy."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / group):
            found |= _listed(Path(folder) / "cgroup.procs")
    return found


def kill(group: str) -> None:
    """Kill all processes of a group at one moment, as a power failure would: freeze first, then SIGKILL.

    Raises:
        LabError: Some are still there after 20 s.
    """
    freezer = _ROOT / "freezer" / group / "freezer.state"
    if freezer.exists():
        freezer.write_text("FROZEN")
        _wait(lambda: freezer.read_text().strip() == "FROZEN", f"{group} did not freeze")
    _signal_all(group)
    if freezer.exists():
        freezer.write_text("THAWED")
        _thaw_below(freezer.parent)

    def gone() -> bool:
        _signal_all(group)  # what was forked between the listing and the kill, where nothing could be frozen
        return not members(group)

    _wait(gone, f"processes of {group} outlive SIGKILL: {sorted(members(group))}")


def frozen(group: str) -> bool:
    """Tell whether a group was frozen and never thawed, as when a `kill` is interrupted."""
    state = _ROOT / "freezer" / group / "freezer.state"
    return state.exists() and state.read_text().strip() != "THAWED"


def remove(group: str) -> None:
    """Remove a group that has no processes, and all groups below it.

    Raises:
        LabError: It is still in use after 20 s.
    """
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / group, topdown=False):
            _wait(partial(_removed, Path(folder)), f"the cgroup {folder} is still in use")


def memory(group: str) -> int:
    """Return the bytes of memory that a group holds, files that it maps included, without what is only cached."""
    stat = _ROOT / "memory" / group / "memory.stat"
    fields = dict(line.split() for line in stat.read_text().splitlines()) if stat.exists() else {}
    return int(fields.get("total_rss", 0)) + int(fields.get("total_mapped_file", 0))


def _listed(file: Path) -> set[int]:
    try:
        return {int(line) for line in file.read_text().split()}
    except (FileNotFoundError, OSError):
        return set()  # the group went while we looked


def _signal_all(group: str) -> None:
    for pid in members(group):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _thaw_below(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        state = Path(parent) / "freezer.state"
        if state.exists():
            state.write_text("THAWED")


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _wait(condition: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(failure)
        time.sleep(_POLL)
