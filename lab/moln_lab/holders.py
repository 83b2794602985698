"""Who is in the way of an unmount: processes with something open on a file system. Called by `block`, for its messages.

Reads /proc, changes nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path


def users_of_path(target: Path) -> set[int]:
    """Processes with an open file or a working directory on the file system mounted at `target`."""
    try:
        device = target.stat().st_dev
    except OSError:
        return set()
    found = set()
    for process in _processes():
        for link in _links(process):
            with suppress(OSError):
                if link.stat().st_dev == device:
                    found.add(int(process.name))
                    break
    return found


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdecimal())


def _links(process: Path) -> Iterator[Path]:
    yield from (process / "cwd", process / "root")
    with suppress(OSError):
        yield from (process / "fd").iterdir()


def describe(pids: Iterable[int]) -> str:
    """Name processes for a message."""
    names = []
    for pid in sorted(pids):
        with suppress(OSError):
            names.append(f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({pid})")
    return ", ".join(names) or "nobody that can be seen (a mount namespace, or a process that just ended)"
