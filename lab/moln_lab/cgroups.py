"""The lab's own control groups: what was started in one is found again in it, whatever became of its parent.

Called by `processes` (put a program in), `hosts` (kill all of a host at once), and `lab` (nothing escapes `down`).
Touches only the groups whose paths it is given. Machines have either several hierarchies of version 1, where a group
is a folder in each, or one of version 2, or both.
"""

import os
import signal
from functools import partial
from pathlib import Path

from moln_lab.errors import LabError
from moln_lab.progress import wait_for

_ROOT = Path("/sys/fs/cgroup")
_PATIENCE = 20.0
_POLL = 0.02


def hierarchies() -> list[Path]:
    """Return the mount points of this machine's hierarchies: one of version 2, or or some of version 1, or both.

    Raises:
        LabError: It has none.
    """
    mounted = (line.split(" ") for line in Path("/proc/mounts").read_text().splitlines())
    kinds = {"cgroup", "cgroup2"}
    found = [Path(target) for _, target, kind, *_ in mounted if kind in kinds and Path(target).is_relative_to(_ROOT)]
    if not found:
        raise LabError(
            f"no cgroup hierarchy is mounted below {_ROOT}: the lab needs one to keep its processes together"
        )
    return found


def create(group: str) -> None:
    """Make a group in every hierarchy, able to hold processes; nothing happens where it is there."""
    for hierarchy in hierarchies():
        folder = hierarchy
        for part in Path(group).parts:
            _hand_down_controllers(folder)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            _inherit_cpuset(folder)


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
    for folder in _freezers(group):
        _freeze(folder)
    _signal_all(group)
    for folder in _freezers(group):
        _thaw(folder)

    def gone() -> bool:
        _signal_all(group)  # what was forked between the listing and the kill, where nothing could be frozen
        return not members(group)

    wait_for(gone, f"the end of the processes in {group}", _PATIENCE, _POLL)


def frozen(group: str) -> bool:
    """Tell whether a group was frozen and never thawed, as when a `kill` is interrupted."""
    return any(_switch(folder).read_text().strip() not in {"THAWED", "0"} for folder in _freezers(group))


def remove(group: str) -> None:
    """Remove a group that has no processes, and all groups below it.

    Raises:
        LabError: It is still in use after 20 s.
    """
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy / group, topdown=False):
            wait_for(partial(_removed, Path(folder)), f"removing the cgroup {folder}", _PATIENCE, _POLL)


def memory(group: str) -> int:
    """Return the bytes of memory that a group holds, files that it maps included, without what is only cached."""
    for hierarchy in hierarchies():
        stat = hierarchy / group / "memory.stat"
        if stat.exists():
            fields = {name: int(value) for name, value in map(str.split, stat.read_text().splitlines())}
            return sum(fields.get(name, 0) for name in ("total_rss", "total_mapped_file", "anon", "file_mapped"))
    return 0


def _hand_down_controllers(folder: Path) -> None:
    """Version 2: let the groups below a group have the controllers that it has."""
    controllers = folder / "cgroup.controllers"
    if controllers.exists():
        have = (folder / "cgroup.subtree_control").read_text().split()
        for controller in controllers.read_text().split():
            if controller not in have:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(folder: Path) -> None:
    """Version 1: a new cpuset is empty, and nothing can run in it until it names processors and memory."""
    if (folder / "cgroup.controllers").exists():
        return
    for setting in ("cpuset.cpus", "cpuset.mems"):
        file = folder / setting
        if file.exists() and not file.read_text().strip():
            file.write_text((folder.parent / setting).read_text())


def _freezers(group: str) -> list[Path]:
    """Return where a group, if it is there, can be frozen: in version 1's freezer, or else in version 2.

    Not in both: what one has frozen can't tell the other that it has stopped.
    """
    found = [folder for hierarchy in hierarchies() if _switch(folder := hierarchy / group).exists()]
    return sorted(found, key=lambda folder: _switch(folder).name, reverse=True)[:1]


def _switch(folder: Path) -> Path:
    version_2 = folder / "cgroup.freeze"
    return version_2 if version_2.exists() else folder / "freezer.state"


def _freeze(folder: Path) -> None:
    switch = _switch(folder)
    if switch.name == "cgroup.freeze":
        switch.write_text("1")
        state, done = folder / "cgroup.events", "frozen 1"
    else:
        switch.write_text("FROZEN")
        state, done = switch, "FROZEN"
    wait_for(lambda: done in state.read_text().splitlines(), f"freezing {folder}", _PATIENCE, _POLL)


def _thaw(folder: Path) -> None:
    for parent, _, _ in os.walk(folder):
        switch = _switch(Path(parent))
        if switch.exists():
            switch.write_text("0" if switch.name == "cgroup.freeze" else "THAWED")


def _listed(file: Path) -> set[int]:
    try:
        return {int(line) for line in file.read_text().split()}
    except OSError:
        return set()  # the group went while we looked


def _signal_all(group: str) -> None:
    for pid in members(group):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
