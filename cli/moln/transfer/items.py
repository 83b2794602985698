"""What `moln cp` moves: a file or a folder, an object or everything below a prefix, as source and target pairs.

Reads folders and listings, writes nothing. A key becomes a path below the target folder, or an error: never a path
outside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moln.errors import CliError, Exit
from moln.s3url import S3Url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln.client import Client


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that goes to an object."""

    source: Path
    target: S3Url


@dataclass(frozen=True, slots=True)
class Download:
    """An object that goes to a file."""

    source: S3Url
    target: Path


@dataclass(frozen=True, slots=True)
class Copy:
    """An object that the server copies to another."""

    source: S3Url
    target: S3Url


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that cannot be moved, and why."""

    name: str
    reason: str


Item = Upload | Download | Copy | Refused


def uploads(source: Path, target: S3Url, *, recursive: bool) -> Iterator[Item]:
    """The files to write: `source` itself, or with `recursive` everything in it, by its path below it."""
    if not source.exists():
        raise CliError(f"{source} does not exist", Exit.NOT_FOUND)
    if not source.is_dir():
        keeps_name = not target.key or target.key.endswith("/")
        yield Upload(source, target.child(source.name) if keeps_name else target)
        return
    if not recursive:
        raise CliError(f"{source} is a folder: use -r to copy what is in it", Exit.USAGE)
    for folder, below, names in os.walk(source):
        below.sort()
        here = Path(folder)
        for name in below:
            if (here / name).is_symlink():
                yield Refused(str(here / name), "a link to a folder is not followed")
        for name in sorted(names):
            file = here / name
            relative = file.relative_to(source).as_posix()
            if not file.is_file():
                yield Refused(str(file), "neither a file nor a link to one")
            elif not _is_text(relative):
                yield Refused(str(file), "its name is not UTF-8, as keys must be")
            else:
                yield Upload(file, target.child(relative))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def downloads(client: Client, source: S3Url, target: Path, *, recursive: bool) -> Iterator[Item]:
    """The objects to read: `source` itself, or with `recursive` every key below it as a path below `target`."""
    if not recursive:
        if not source.key:
            raise CliError(f"{source} is a bucket: use -r to copy what is in it", Exit.USAGE)
        name = source.key.rstrip("/").rpartition("/")[2]
        yield Download(source, target / name if target.is_dir() else target)
        return
    for key in keys(client, source):
        path = path_below(target, key[len(_folder(source.key)) :])
        if path is None:
            yield Refused(str(S3Url(source.bucket, key)), f"its key is no path below {target}")
        else:
            yield Download(S3Url(source.bucket, key), path)


def copies(client: Client, source: S3Url, target: S3Url, *, recursive: bool) -> Iterator[Item]:
    """The objects that the server copies to another name."""
    if recursive:
        for key in keys(client, source):
            yield Copy(S3Url(source.bucket, key), target.child(key[len(_folder(source.key)) :]))
        return
    if not source.key:
        raise CliError(f"{source} is a bucket: use -r to copy what is in it", Exit.USAGE)
    keeps_name = not target.key or target.key.endswith("/")
    yield Copy(source, target.child(source.key.rpartition("/")[2]) if keeps_name else target)


def keys(client: Client, place: S3Url) -> Iterator[str]:
    """Every key below a prefix taken as a folder, but for the folder's own marker."""
    prefix = _folder(place.key)
    wanted: dict[str, Any] = {"Bucket": place.bucket, "Prefix": prefix}
    for page in client.get_paginator("list_objects_v2").paginate(**wanted):
        for item in page.get("Contents", []):
            if item["Key"] != prefix:
                yield item["Key"]


def _folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def path_below(folder: Path, key: str) -> Path | None:
    """Where a key goes below a folder; None if it would leave the folder or is no path."""
    names = key.split("/")
    if names[-1] == "":
        names.pop()  # an empty object that stands for a folder
    if not names or any(name in ("", ".", "..") or "\0" in name or len(name.encode()) > 255 for name in names):
        return None
    return folder.joinpath(*names)
