"""The index's database: how it is opened, its tables, and how its errors are named.

SQLite through apsw, with the checksum VFS that ships with it: every page carries a checksum and is checked when it is
read, so a flipped bit in the b-tree is an error and never a missing key. WAL with synchronous=FULL: a commit returns
after the log was fsynced. Called by `store` (to open) and by the lanes (to name errors).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw
import apsw.sqlite_extra

from moln_node.store.errors import CorruptError, IndexDamagedError, StorageFullError, UnsupportedFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT: Final = 5
"""The format of all that is on a disk, in SQLite's user_version. Those before, from 3 on, are brought forward."""
OLDEST_READER: Final = 4
"""The oldest format whose releases can serve what this one writes, in `meta`: so that an upgrade can be rolled back."""
READS_BODIES: Final = 5
"""The same for a disk on which a body is apart from its record."""

_APPLICATION: Final = 0x6D6F6C6E  # "moln"
_VFS: Final = "cksmvfs"
_PAGE_SIZE: Final = 8192
_RESERVED: Final = 8  # bytes at the end of each page, for its checksum
_CACHE_KIB: Final = 32 * 1024

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE bucket (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, document BLOB NOT NULL);
CREATE TABLE record (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, inverse BLOB NOT NULL, document BLOB NOT NULL,
    PRIMARY KEY (bucket, key, inverse)
) WITHOUT ROWID;
CREATE TABLE small (id INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE body (
    id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, size INTEGER NOT NULL, stored INTEGER NOT NULL, hash BLOB
);
CREATE UNIQUE INDEX body_hash ON body (hash) WHERE hash IS NOT NULL;
CREATE TABLE garbage (id INTEGER PRIMARY KEY, stored INTEGER NOT NULL);
CREATE TABLE usage (
    bucket INTEGER NOT NULL, class TEXT NOT NULL, objects INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (bucket, class)
) WITHOUT ROWID;
CREATE TABLE promise (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, ballot BLOB NOT NULL, PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE hint (register BLOB PRIMARY KEY) WITHOUT ROWID;
"""

_OWED: Final = """
CREATE TABLE owed (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, inverse BLOB NOT NULL, register BLOB NOT NULL,
    since_ms INTEGER NOT NULL, tries INTEGER NOT NULL, dead TEXT NOT NULL, PRIMARY KEY (bucket, key, inverse)
) WITHOUT ROWID;
"""
_BEFORE_OWED: Final = 3
_BEFORE_BODIES: Final = 4


def _load_checksums() -> None:
    """Register the checksum VFS in this process; once is enough."""
    if _VFS not in apsw.vfs_names():
        loader = apsw.Connection(":memory:")
        apsw.sqlite_extra.load(loader, "cksumvfs")
        loader.close()


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """A connection to the index at `path`; each is used by one thread at a time."""
    with naming_errors():
        return _connect(path, read_only=read_only)


def _connect(path: Path, *, read_only: bool) -> apsw.Connection:
    _load_checksums()
    flags = apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    database = apsw.Connection(str(path), flags=flags, vfs=_VFS, statementcachesize=200)
    database.set_busy_timeout(10_000)
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    database.execute("PRAGMA query_only = ON" if read_only else "PRAGMA synchronous = FULL")
    return database


def create(path: Path, *, new: bool) -> None:
    """Make the index at `path` where there is none, and refuse one that this release can't read.

    `new` says that nothing was ever kept here: then an index that a crash left without tables is made anew.

    Raises:
        UnsupportedFormatError: it was written by another release, or is no index.
    """
    database = connect(path)
    try:
        with naming_errors():
            if not database.pragma("page_count") or (new and _is_bare(database)):
                _initialise(database)
            if _is_ours(database):
                _bring_forward(database)
            _check_format(path, database)
    finally:
        database.close()


def _initialise(database: apsw.Connection) -> None:
    """Lay out an empty database: the schema and its format in one transaction."""
    database.reserve_bytes("main", _RESERVED)
    database.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("BEGIN IMMEDIATE")
    database.execute(_SCHEMA + _OWED)
    database.execute(f"PRAGMA application_id = {_APPLICATION}")
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("INSERT INTO meta VALUES ('oldest_reader', ?)", (OLDEST_READER,))
    database.execute("COMMIT")


def _is_bare(database: apsw.Connection) -> bool:
    """It has its first page, and nothing in it."""
    return database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _is_ours(database: apsw.Connection) -> bool:
    return bool(database.pragma("application_id") == _APPLICATION)


def _bring_forward(database: apsw.Connection) -> None:
    """From format 3 or 4: nothing is owed yet, and no body is apart from its record."""
    found = database.pragma("user_version")
    if found not in (_BEFORE_OWED, _BEFORE_BODIES):
        return
    database.execute("BEGIN IMMEDIATE")
    if found == _BEFORE_OWED:
        database.execute(_OWED)
    database.execute(f"PRAGMA user_version = {FORMAT}")
    database.execute("INSERT OR REPLACE INTO meta VALUES ('oldest_reader', ?)", (OLDEST_READER,))
    database.execute("COMMIT")


def _check_format(path: Path, database: apsw.Connection) -> None:
    """Refuse what is not an index that this release can read, with its page checksums on."""
    if not _is_ours(database):
        raise UnsupportedFormatError(f"{path} is not the index of a moln node")
    found = database.pragma("user_version")
    if found != FORMAT:
        row = database.execute("SELECT value FROM meta WHERE name = 'oldest_reader'").fetchone()
        oldest = found if row is None else int(row[0])
        if not oldest <= FORMAT < found:
            raise UnsupportedFormatError(
                f"{path} has format {found}, for releases that read {oldest} or newer; this one reads {FORMAT}: run "
                "the one that wrote it"
            )
    if database.reserve_bytes("main") != _RESERVED or not database.pragma("checksum_verification"):
        raise CorruptError(f"{path} has lost the space for its page checksums: its header is damaged")


@contextmanager
def naming_errors() -> Iterator[None]:
    """Give SQLite's errors the store's names: IndexDamagedError for bad pages, StorageFullError for no room."""
    try:
        yield
    except apsw.FullError as error:
        raise StorageFullError("the volume has no room for the index") from error
    except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, UnicodeDecodeError) as error:
        raise IndexDamagedError(f"the index is damaged ({error}): it is not served") from error
    except apsw.IOError as error:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
            raise IndexDamagedError("a page of the index does not match its checksum: it is not served") from error
        raise
