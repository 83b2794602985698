"""The directory of body files: where each is, how one gets its name, and how one goes.

    <data>/tmp/<id>                 while it is written; emptied when the store opens
    <data>/bodies/<a>/<b>/<id>      from then on; 1,024 to a directory, and ids only grow

Blocking: called on the store's threads. What is named here is not yet anybody's: a record makes it so.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from moln_node.store.bodyfile import BodyFile, BodyFileWriter
from moln_node.store.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_COUNTER_BITS: Final = 40


@dataclass(frozen=True, slots=True)
class NewBody:
    """A body whose bytes are safe (in a named file) or ride with the record (`inline`), and no record refers to yet.

    Attributes:
        inline: the row of a small body.
        hash: the SHA-256 of a chunk, by which equal ones are shared.
        fresh: its writer wrote the file; else it was there, or is the same as one before it.
        pinned: the body that its writer pinned.
        replaces: the body that was found damaged, and must not be shared any more.
    """

    id: int
    size: int
    stored: int
    inline: bytes | None = None
    hash: bytes | None = None
    fresh: bool = True
    pinned: int | None = None
    replaces: int | None = None


class BodyDirectory:
    """Body files below one data directory. Ids never repeat: each opening of the store counts from a new start."""

    def __init__(self, data: Path, opening: int) -> None:
        self._bodies = data / "bodies"
        self._temporary = data / "tmp"
        self._ids = count(opening << _COUNTER_BITS)
        self._known: set[Path] = set()
        self._lock = threading.Lock()
        self._in_flight: set[int] = set()
        for directory in (self._bodies, self._temporary):
            directory.mkdir(exist_ok=True)
        sync_directory(data)
        for left in self._temporary.iterdir():
            left.unlink()

    def new_id(self) -> int:
        """An id that no body has had."""
        return next(self._ids)

    def path(self, body_id: int) -> Path:
        """Where the body's file is."""
        return self._bodies / f"{body_id >> 20:011x}" / f"{(body_id >> 10) & 0x3FF:03x}" / f"{body_id:016x}"

    def create(self, body_id: int, level: int | None) -> BodyFileWriter:
        """Begin a body file; `level` of zstd, or None."""
        self._in_flight.add(body_id)
        return BodyFileWriter(self._temporary / f"{body_id:016x}", body_id, level)

    def name(self, body_id: int) -> None:
        """Give a finished file its name, so that it survives a power cut: rename, then fsync the directory."""
        path = self.path(body_id)
        self._make(path.parent)
        (self._temporary / path.name).rename(path)
        sync_directory(path.parent)

    def is_in_flight(self, body_id: int) -> bool:
        """Whether a writer has the body under way, be it in a named file."""
        return body_id in self._in_flight

    def landed(self, body_ids: Iterable[int]) -> None:
        """The index has these now."""
        self._in_flight.difference_update(body_ids)

    def open(self, body_id: int) -> BodyFile:
        """Open a body for reading; FileNotFoundError if it is gone."""
        return BodyFile(self.path(body_id), body_id)

    def delete(self, body_ids: Iterable[int]) -> None:
        """Remove bodies for good; those that are not there are no error."""
        body_ids = list(body_ids)
        remove_files(map(self.path, body_ids))
        self.landed(body_ids)

    def walk(self) -> Iterator[tuple[int, Path, int]]:
        """Every file's body id, path and length, in no order; what has no body's name is passed over."""
        for top in _subdirectories(self._bodies):
            for leaf in _subdirectories(top):
                with os.scandir(leaf) as entries:
                    for entry in entries:
                        with suppress(ValueError, FileNotFoundError):
                            yield int(entry.name, 16), leaf / entry.name, entry.stat().st_size

    def _make(self, leaf: Path) -> None:
        """Make a directory and its parent, each synced into its own parent before anything is put in it."""
        if leaf in self._known:
            return
        with self._lock:
            for directory in (leaf.parent, leaf):
                if directory not in self._known:
                    directory.mkdir(exist_ok=True)
                    sync_directory(directory.parent)
                    self._known.add(directory)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files so that a power cut does not bring them back; those that are not there are no error."""
    directories = set()
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
            directories.add(path.parent)
    for directory in directories:
        sync_directory(directory)


def _subdirectories(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir()]


def sync_directory(path: Path) -> None:
    """Bring a directory's names to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming_full_disk() -> Iterator[None]:
    """Give a disk without room the store's name for it: StorageFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError("the volume has no room left: delete objects, grow it or add nodes") from error
        raise
