"""One object to one file. Large objects come in parts; an interrupted download goes on where it stopped.

The bytes gather in a hidden file beside the target, are compared with what the cloud says of the object, and only then
take the target's name: a file that is there is whole and right, or the old one.
"""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import Executor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as boto
from pydantic import BaseModel, ValidationError

from moln.errors import CliError, Exit
from moln.files import write_private
from moln.transfer.checksums import expected
from moln.transfer.parts import DEFAULT, Part, cut, part_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from moln.client import Client
    from moln.s3url import S3Url
    from moln.transfer.progress import Progress

_BLOCK: Final = 1024 * 1024
_ATTEMPTS: Final = 4
_BROKEN: Final = (boto.HTTPClientError, boto.IncompleteReadError, boto.ResponseStreamingError)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was read; `verified` names what the bytes were compared with, empty where the cloud offers nothing."""

    size: int
    etag: str
    version_id: str | None
    verified: str
    resumed_bytes: int = 0


class _Unfinished(BaseModel):
    """What is remembered beside a partial file: the object it is of, and the parts that are on disk."""

    source: str
    etag: str
    size: int
    part_size: int
    done: list[int] = []


def download_file(
    client: Client,
    pool: Executor,
    source: S3Url,
    path: Path,
    progress: Progress,
    *,
    version_id: str | None = None,
    each: int = DEFAULT,
) -> Downloaded:
    """Read an object into a file; CliError CORRUPT if the bytes are not the object's, and then no file is written."""
    named = {"Bucket": source.bucket, "Key": source.key} | ({"VersionId": version_id} if version_id else {})
    head = client.head_object(**named, ChecksumMode="ENABLED")
    size = head["ContentLength"]
    progress.expect(size)
    download = _Download(client, pool, named, head, path, progress, part_size(size, each))
    resumed = download.fetch(f"{client.meta.endpoint_url} {source} {version_id or ''}")
    wanted = expected(head, lambda: client.head_object(**named, PartNumber=1))
    if wanted is not None and not wanted.matches(download.partial):
        download.forget()
        raise CliError(f"{source}: the bytes that came are not the object's ({wanted.algorithm} differs)", Exit.CORRUPT)
    download.finish()
    return Downloaded(size, head["ETag"].strip('"'), head.get("VersionId"), wanted.algorithm if wanted else "", resumed)


class _Download:
    def __init__(
        self,
        client: Client,
        pool: Executor,
        named: Mapping[str, str],
        head: Mapping[str, Any],
        path: Path,
        progress: Progress,
        each: int,
    ) -> None:
        self._client = client
        self._pool = pool
        self._named = named
        self._head = head
        self._path = path
        self._progress = progress
        self._each = each
        self._lock = threading.Lock()
        self.partial = path.with_name(f".{path.name}.moln-part")
        self._memory = path.with_name(f".{path.name}.moln-part.json")

    def fetch(self, source: str) -> int:
        """Bring the partial file up to the whole object; returns how many bytes were there before."""
        size = self._head["ContentLength"]
        state = self._recall(source)
        descriptor = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(descriptor, size)
            parts = cut(size, self._each) if size else []
            done = [part for part in parts if part.number in state.done]
            there = sum(part.size for part in done)
            self._progress.advance(there)
            missing = [part for part in parts if part.number not in state.done]
            if len(parts) == 1:
                for part in missing:
                    self._fetch_part(descriptor, part)
            else:
                self._fetch_parts(descriptor, missing, state)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return there

    def finish(self) -> None:
        """Give the file its name."""
        self.partial.replace(self._path)
        self._memory.unlink(missing_ok=True)

    def forget(self) -> None:
        """Drop what was fetched: the next run begins anew."""
        self.partial.unlink(missing_ok=True)
        self._memory.unlink(missing_ok=True)

    def _recall(self, source: str) -> _Unfinished:
        fresh = _Unfinished(
            source=source, etag=self._head["ETag"], size=self._head["ContentLength"], part_size=self._each
        )
        with contextlib.suppress(OSError, ValidationError):
            found = _Unfinished.model_validate_json(self._memory.read_text(encoding="utf-8"))
            same = found.model_copy(update={"done": []}) == fresh
            if same and self.partial.stat().st_size == fresh.size:
                return found
        self.forget()
        return fresh

    def _fetch_parts(self, descriptor: int, parts: list[Part], state: _Unfinished) -> None:
        def fetch(part: Part) -> None:
            self._fetch_part(descriptor, part)
            with self._lock:
                state.done.append(part.number)
                write_private(self._memory, state.model_dump_json())

        futures = [self._pool.submit(fetch, part) for part in parts]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            wait(futures)  # none of them may use the descriptor once it is closed
            raise

    def _fetch_part(self, descriptor: int, part: Part) -> None:
        """Read a part; a connection that breaks is made again from where it broke."""
        at = part.start
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                wanted = {"Range": f"bytes={at}-{part.end - 1}", "IfMatch": self._head["ETag"]}
                body = self._client.get_object(**self._named, **wanted)["Body"]
                with contextlib.closing(body):
                    while block := body.read(_BLOCK):
                        os.pwrite(descriptor, block, at)
                        at += len(block)
                        self._progress.advance(len(block))
            except _BROKEN:
                if attempt == _ATTEMPTS:
                    raise
            else:
                if at != part.end:
                    raise CliError(f"part {part.number} ended after {at - part.start} of {part.size} bytes")
                return
            if at == part.end:
                return
