"""Listings: pages of keys, versions and uploads, in UTF-8 byte order, found by seeking.

A group of keys that share prefix..delimiter is passed by one seek past it, and so are a key's older versions where
there are many. Nothing here compares text: keys are bytes. Blocking; called on the reading lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from moln_node.store import documents, lookup
from moln_node.store.model import Listing, UploadListing, VersionListing
from moln_spec.version import InvalidVersionError, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import apsw

    from moln_node.store.model import Record, Upload

_OLDER_BEFORE_SEEK: Final = 16  # older versions that are passed one by one before it is cheaper to seek

R = TypeVar("R")
Rows = "Iterable[tuple[bytes, R]]"


def list_objects(
    db: apsw.Connection, bucket: str, bucket_id: int, prefix: str, delimiter: str, after: str, limit: int
) -> Listing:
    """A page of newest versions; see `Objects.list_objects`."""
    wanted = prefix.encode()
    lower = first_key(wanted, delimiter.encode(), after.encode())

    def rows(position: bytes) -> Iterator[tuple[bytes, Record]]:
        for key, inverse, stored in _newest_of_each(db, bucket_id, position, end_of(wanted)):
            version, document = lookup.decode_record(bucket_id, key, inverse, stored)
            if not document.delete_marker:
                yield key, documents.record_model(bucket, key.decode(), version, document)

    records: list[Record] = []
    prefixes: list[str] = []
    last = ""
    for record, group in _grouped(rows, wanted, delimiter.encode(), lower):
        if len(records) + len(prefixes) >= limit:
            return Listing(tuple(records), tuple(prefixes), last or None)
        if record is None:
            last = group.decode()
            prefixes.append(last)
        else:
            last = record.key
            records.append(record)
    return Listing(tuple(records), tuple(prefixes), None)


def list_versions(
    db: apsw.Connection,
    bucket: str,
    bucket_id: int,
    prefix: str,
    delimiter: str,
    after_key: str,
    after_version: str | None,
    limit: int,
) -> VersionListing:
    """A page of versions and delete markers; see `Objects.list_versions`.

    The version marker of the next page is always the version itself, also for a null version, so that the page can go
    on where it was even after that version is deleted.
    """
    wanted, grouping, marker = prefix.encode(), delimiter.encode(), after_key.encode()
    lower = first_key(wanted, grouping, marker)
    upper = end_of(wanted)
    resumed = after_version is not None and after_key.startswith(prefix)

    def rows(position: bytes) -> Iterator[tuple[bytes, Record]]:
        before = b""
        if resumed and position == lower:
            newest = lookup.newest(db, bucket_id, marker)
            for inverse, stored in _older(db, bucket_id, marker, after_version or ""):
                version, document = lookup.decode_record(bucket_id, marker, inverse, stored)
                latest = newest is not None and newest[0] == version
                yield marker, documents.record_model(bucket, after_key, version, document, latest=latest)
        for key, inverse, stored in db.execute(
            "SELECT key, inverse, document FROM record WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key, inverse",
            (bucket_id, position, upper),
        ):
            version, document = lookup.decode_record(bucket_id, key, inverse, stored)
            yield key, documents.record_model(bucket, key.decode(), version, document, latest=key != before)
            before = key

    records: list[Record] = []
    prefixes: list[str] = []
    next_key, next_version = "", ""
    for record, group in _grouped(rows, wanted, grouping, lower):
        if len(records) + len(prefixes) >= limit:
            return VersionListing(tuple(records), tuple(prefixes), next_key or None, next_version or None)
        if record is None:
            next_key, next_version = group.decode(), ""
            prefixes.append(next_key)
        else:
            next_key, next_version = record.key, record.version.encode()
            records.append(record)
    return VersionListing(tuple(records), tuple(prefixes), None, None)


def list_uploads(
    db: apsw.Connection,
    bucket: str,
    bucket_id: int,
    prefix: str,
    delimiter: str,
    after_key: str,
    after_upload: str,
    limit: int,
) -> UploadListing:
    """A page of uploads under way; see `Objects.uploads`."""
    wanted, grouping, marker = prefix.encode(), delimiter.encode(), after_key.encode()
    lower = first_key(wanted, grouping, marker)
    if after_upload and after_key.startswith(prefix):
        lower = marker

    def rows(position: bytes) -> Iterator[tuple[bytes, tuple[str, str, bytes]]]:
        for key, upload_id, stored in db.execute(
            "SELECT key, id, document FROM upload WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key, id",
            (bucket_id, position, end_of(wanted)),
        ):
            if key != marker or not after_upload or upload_id > after_upload:
                yield key, (key.decode(), upload_id, stored)

    uploads: list[Upload] = []
    prefixes: list[str] = []
    next_key, next_upload = "", ""
    for row, group in _grouped(rows, wanted, grouping, lower):
        if len(uploads) + len(prefixes) >= limit:
            return UploadListing(tuple(uploads), tuple(prefixes), next_key or None, next_upload or None)
        if row is None:
            next_key, next_upload = group.decode(), ""
            prefixes.append(next_key)
        else:
            next_key, next_upload, stored = row
            identity = documents.upload_identity(bucket_id, next_key.encode(), next_upload)
            document = documents.decode(documents.UploadDocument, stored, identity)
            uploads.append(documents.upload_model(bucket, next_key, next_upload, document))
    return UploadListing(tuple(uploads), tuple(prefixes), None, None)


def first_key(prefix: bytes, delimiter: bytes, after: bytes) -> bytes:
    """The first key that a page may hold: behind `after` or its whole group, not before `prefix`."""
    if not after or after < prefix:
        return prefix
    cut = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    if cut >= 0 and cut + len(delimiter) == len(after):
        return _past(after)
    return after + b"\0"


def end_of(prefix: bytes) -> bytes:
    """The first key behind all those that begin with `prefix`; behind all keys where it is empty."""
    return _past(prefix) if prefix else b"\xff"


def _past(prefix: bytes) -> bytes:
    """The first key behind all those that begin with `prefix`: UTF-8 has no byte 0xff, so the last one can grow."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _grouped(
    rows: Callable[[bytes], Iterator[tuple[bytes, R]]], prefix: bytes, delimiter: bytes, position: bytes
) -> Iterator[tuple[R | None, bytes]]:
    """Rows from `position` on, or in place of all those of one group its prefix (with None)."""
    seeking = True
    while seeking:
        seeking = False
        for key, row in rows(position):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                yield row, key
                continue
            group = key[: cut + len(delimiter)]
            yield None, group
            position = _past(group)
            seeking = True
            break


def _newest_of_each(
    db: apsw.Connection, bucket_id: int, position: bytes, upper: bytes
) -> Iterator[tuple[bytes, bytes, bytes]]:
    """The newest row of each key."""
    before: bytes | None = None
    seeking = True
    while seeking:
        seeking = False
        passed = 0
        for row in db.execute(
            "SELECT key, inverse, document FROM record WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key, inverse",
            (bucket_id, position, upper),
        ):
            if row[0] != before:
                before = row[0]
                passed = 0
                yield row
                continue
            passed += 1
            if passed > _OLDER_BEFORE_SEEK:
                position = row[0] + b"\0"
                seeking = True
                break


def _older(db: apsw.Connection, bucket_id: int, key: bytes, version_id: str) -> Iterator[tuple[bytes, bytes]]:
    """Rows of the key's versions older than this one; all of them where `null` is there no more."""
    inverse = b""
    if version_id == lookup.NULL:
        found = lookup.null_version(db, bucket_id, key)
        inverse = b"" if found is None else documents.invert(found[0])
    else:
        try:
            inverse = documents.invert(Version.decode(version_id))
        except InvalidVersionError:
            inverse = b"\xff" * 13  # no such version can be: go on with the next key
    return db.execute(
        "SELECT inverse, document FROM record WHERE bucket = ? AND key = ? AND inverse > ? ORDER BY inverse",
        (bucket_id, key, inverse),
    )
