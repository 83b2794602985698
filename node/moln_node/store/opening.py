"""Opening a data directory: one process at a time, the index checked, and what is kept in memory loaded from it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.store import database, documents, lookup
from moln_node.store.activity import LOG_SUFFIX
from moln_node.store.bodies import DIRECTORY as BODIES
from moln_node.store.bodies import BodyDirectory, remove_files, sync_directory
from moln_node.store.clock import Clock
from moln_node.store.documents import BucketDocument
from moln_node.store.errors import CorruptError, DataInUseError
from moln_node.store.ledger import Ledger
from moln_node.store.state import Progress, State
from moln_node.store.transaction import BucketRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import apsw

INDEX: Final = "index.db"
_LOCK: Final = "lock"
_SIGNS: Final = (BODIES, "cloud-map.json")
"""What a disk has on which a node has run before: it appears once the index is there, and never before."""
_READERS: Final = 3
_PIECE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index in use, and the bodies beside it. `garbage` are those that wait for the collector."""

    writer: apsw.Connection
    readers: tuple[apsw.Connection, ...]
    bodies: BodyDirectory
    clock: Clock
    ledger: Ledger
    state: State
    garbage: tuple[int, ...]


def lock(data: Path) -> int:
    """Make the directory, and keep other processes out until the descriptor is closed; DataInUseError."""
    data.mkdir(parents=True, exist_ok=True)
    sync_directory(data.parent)
    descriptor = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DataInUseError(f"{data} is in use by another process: stop that one first") from error
    return descriptor


def open_index(data: Path, node_number: int) -> OpenIndex:
    """Open the index in `data`, made on a new disk. Blocking.

    Raises:
        UnsupportedFormatError, CorruptError: it can't be read, or is gone; nothing stays open.
    """
    path = data / INDEX
    _settle_log(path.with_name(path.name + LOG_SUFFIX))
    signs = [name for name in _SIGNS if (data / name).exists()]
    _require_index(path, signs)
    database.create(path, new=not signs)
    connections: list[apsw.Connection] = []
    try:
        with database.naming_errors():
            for number in range(1 + _READERS):
                connections.append(database.connect(path, read_only=number > 0))  # noqa: PERF401 (closed if one fails)
            return _load(connections, data, node_number)
    except BaseException:
        for connection in connections:
            connection.close()
        raise


def _settle_log(log: Path) -> None:
    """Bring the index's log to the disk, as it can be read: written again, since an fsync of before may have failed.

    Then the system takes for written what is not. Commits would be read from the log, and those that follow be written
    behind them, and a power cut would leave a hole before these: all of them were lost.
    """
    if not log.exists():
        return
    with log.open("r+b") as file:
        while piece := file.read(_PIECE):
            file.seek(-len(piece), os.SEEK_CUR)
            file.write(piece)
            file.flush()
        os.fsync(file.fileno())


def _require_index(path: Path, signs: list[str]) -> None:
    """Refuse a disk that had an index and has none now: a new one knows none of the bodies, and removes them."""
    if not signs or (path.exists() and path.stat().st_size):
        return
    raise CorruptError(
        f"{path.name} is {'empty' if path.exists() else 'missing'}, but a node ran here before and left "
        f"{' and '.join(signs)}: nothing was touched. Put it back, with its -wal if there is one; or, to start "
        f"with an empty disk, which the other nodes refill, move all that is in {path.parent} away "
        "(docs/runbooks.md, A node refuses its disk)"
    )


def _load(connections: list[apsw.Connection], data: Path, node_number: int) -> OpenIndex:
    """Count this opening, and read what is kept in memory."""
    writer, *readers = connections
    opening = _begin_opening(writer)
    row = writer.execute("SELECT value FROM meta WHERE name = 'progress'").fetchone()
    progress = Progress(None, 0) if row is None else Progress.from_bytes(row[0])
    bodies = BodyDirectory(data, opening)
    remove_files(_unfinished(writer, bodies, progress.mark))
    usage = {(bucket, name): (objects, size) for bucket, name, objects, size in writer.execute("SELECT * FROM usage")}
    return OpenIndex(
        writer,
        tuple(readers),
        bodies,
        Clock(node_number, progress.newest),
        Ledger(data, usage),
        State(_buckets(writer), progress),
        tuple(body_id for (body_id,) in writer.execute("SELECT id FROM garbage")),
    )


def _buckets(connection: apsw.Connection) -> dict[str, BucketRow]:
    """The buckets of an index, by name."""
    found = {}
    for number, name, stored in connection.execute("SELECT id, name, document FROM bucket ORDER BY name"):
        document = documents.decode(BucketDocument, stored, documents.bucket_identity(name))
        bucket = documents.bucket_model(name, document)
        found[name] = BucketRow(number, bucket, document.incarnation, document.closing)
    return found


def _unfinished(connection: apsw.Connection, bodies: BodyDirectory, mark: int) -> Iterator[Path]:
    """Body files that a crash kept from being recorded."""
    for body_id, path, _ in bodies.walk(mark):
        if not lookup.knows_body(connection, body_id):
            yield path


def _begin_opening(connection: apsw.Connection) -> int:
    """Count how often the store was opened, so that no body id is ever used twice."""
    connection.execute("BEGIN IMMEDIATE")
    row = connection.execute("SELECT value FROM meta WHERE name = 'openings'").fetchone()
    opening = 1 if row is None else int(row[0]) + 1
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('openings', ?)", (opening,))
    connection.execute("COMMIT")
    return opening
