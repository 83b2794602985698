"""The directory of body files: where each is, how one comes to be, and how one goes.

    <data>/bodies/<a>/<b>/<id>      1,024 to a directory; ids only grow

A file has its name from its first byte: it is nobody's until a record refers to it, so there is nothing to rename, and
one commit of the file system's journal fewer. What a crash leaves unfinished is found again by the *mark*: every commit
of the index keeps the lowest id that a writer had under way, so that only files from there on need to be looked at when
the store opens. Blocking, but for `begin`: called on the store's threads.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.store.bodyfile import BodyFile, BodyFileWriter
from moln_node.store.errors import StorageFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DIRECTORY: Final = "bodies"
_COUNTER_BITS: Final = 40


@dataclass(frozen=True, slots=True)
class NewBody:
    """A body whose bytes are on the disk (in a file) or ride with the record (`inline`), and no record refers to yet.

    Attributes:
        inline: the row of a small body.
        hash: the SHA-256 of a chunk, by which equal ones are shared.
        fresh: its writer wrote the file; else it was there, or is the same as one before it.
        pinned: the body that its writer pinned.
        replaces: the body that was found damaged or packed otherwise, and must not be shared any more.
        packing: how it was asked to be packed; see `packing`.
    """

    id: int
    size: int
    stored: int
    inline: bytes | None = None
    hash: bytes | None = None
    fresh: bool = True
    pinned: int | None = None
    replaces: int | None = None
    packing: str = ""


class BodyDirectory:
    """Body files below one data directory. Ids never repeat: each opening of the store counts from a new start."""

    def __init__(self, data: Path, opening: int) -> None:
        self._bodies = data / DIRECTORY
        self._next = opening << _COUNTER_BITS
        self._known: set[Path] = set()
        self._lock = threading.Lock()
        self._in_flight: set[int] = set()
        self._bodies.mkdir(exist_ok=True)
        sync_directory(data)

    def new_id(self) -> int:
        """An id that nothing has had."""
        with self._lock:
            return self._take_id()

    def _take_id(self) -> int:
        self._next += 1
        return self._next

    def path(self, body_id: int) -> Path:
        """Where the body's file is."""
        return self._bodies / f"{body_id >> 20:011x}" / f"{(body_id >> 10) & 0x3FF:03x}" / f"{body_id:016x}"

    def begin(self, level: int | None) -> BodyFileWriter:
        """A writer of a new body, with zstd of that level or None. Makes no file yet."""
        with self._lock:
            body_id = self._take_id()
            self._in_flight.add(body_id)
        path = self.path(body_id)
        return BodyFileWriter(path, body_id, level, lambda: self._make(path.parent))

    def complete(self, writer: BodyFileWriter) -> NewBody:
        """Bring a body to the disk: its bytes, then its name."""
        written = writer.finish()
        sync_directory(self.path(writer.id).parent)
        return NewBody(writer.id, written.size, written.stored)

    def mark(self) -> int:
        """No body below this id is under way: each is recorded, or gone."""
        with self._lock:
            return min(self._in_flight, default=self._next + 1)

    def is_in_flight(self, body_id: int) -> bool:
        """Whether the body is a writer's still: being written, or on the disk and not recorded yet."""
        return body_id in self._in_flight

    def untaken(self, bodies: Iterable[NewBody]) -> list[NewBody]:
        """Those of new bodies that a step had no use for: no record took them."""
        return [body for body in bodies if body.inline is None and self.is_in_flight(body.id)]

    def landed(self, body_ids: Iterable[int]) -> None:
        """These are the index's now, or gone."""
        with self._lock:
            self._in_flight.difference_update(body_ids)

    def open(self, body_id: int) -> BodyFile:
        """Open a body for reading; FileNotFoundError if it is gone."""
        return BodyFile(self.path(body_id), body_id)

    def delete(self, body_ids: Iterable[int]) -> None:
        """Remove bodies for good; those that are not there are no error."""
        body_ids = list(body_ids)
        remove_files(map(self.path, body_ids))
        self.landed(body_ids)

    def walk(self, mark: int = 0) -> Iterator[tuple[int, Path, int]]:
        """The files of bodies from `mark` on: id, path and length; what has no body's name is passed over."""
        for top in _numbered(self._bodies, mark >> 20):
            for leaf in _numbered(top, ((mark >> 10) & 0x3FF) if int(top.name, 16) == mark >> 20 else 0):
                with os.scandir(leaf) as entries:
                    for entry in entries:
                        with suppress(ValueError, FileNotFoundError):
                            if int(entry.name, 16) >= mark:
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


def _numbered(path: Path, lowest: int) -> Iterator[Path]:
    """The subdirectories whose name is a number from `lowest` on."""
    for entry in path.iterdir():
        with suppress(ValueError):
            if int(entry.name, 16) >= lowest and entry.is_dir():
                yield entry


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
