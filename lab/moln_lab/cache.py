"""Builds kept outside the clone, each under a key of everything that went into it.

    <cache>/<kind>/<key>/...

A build appears under its key only when it is whole, so an interrupted one is never taken for a good one.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path


def key_of(files: Iterable[Path], *settings: str) -> str:
    """Return a key that changes with the content of any file, or with any setting."""
    digest = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    for setting in settings:
        digest.update(f"{len(setting)} {setting}\n".encode())
    return digest.hexdigest()[:16]


def built(cache: Path, kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of a build, which `build` fills when it is not there.

    Only one process at a time may call this for a kind: callers hold the cache's lock.
    """
    finished = cache / kind / key
    if not finished.exists():
        unfinished = cache / kind / f"{key}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        build(unfinished)
        unfinished.rename(finished)
    return finished
