"""A disk whose fsync of the index's log fails: a VFS between SQLite and the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from moln_node.store import database

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "faulty"
_BENEATH = "cksmvfs"


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._fails = disk.fails if path.endswith("-wal") else lambda: False
        super().__init__(_BENEATH, name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 (SQLite's name)
        """Bring it to the disk, which is written to all the same where this fails."""
        if self._fails():
            raise apsw.IOError("IOError: disk I/O error")
        super().xSync(flags)


class FaultyDisk(apsw.VFS):
    """The VFS `faulty`. It fails whenever `fails` says so."""

    def __init__(self, fails: Callable[[], bool]) -> None:
        database._load_checksums()
        self.fails = fails
        super().__init__(NAME, _BENEATH)

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802 (SQLite's name)
        """Open a file."""
        return _File(self, name, flags)
