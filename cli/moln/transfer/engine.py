"""Many transfers at once: small ones side by side, large ones in parts side by side, with one bound on both.

Called by `moln cp`. A transfer that fails does not stop the others; the caller is told of each.
"""

from __future__ import annotations

import errno
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from moln.client import Client, errors_about
from moln.errors import CliError, Exit
from moln.transfer.contenttype import by_name
from moln.transfer.download import Downloaded, download_file
from moln.transfer.items import Copy, Download, Item, Refused, Upload
from moln.transfer.upload import Uploaded, UploadOptions, upload_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from moln.transfer.progress import Silent

_AHEAD: Final = 4  # items that wait for each worker, so that listing runs ahead but not away
_LARGEST_COPY: Final = 5 * 1024**3


@dataclass(frozen=True, slots=True)
class Moved:
    """One item that arrived."""

    item: Item
    result: Uploaded | Downloaded | None


@dataclass(frozen=True, slots=True)
class Failed:
    """One item that did not, and why."""

    item: Item
    error: CliError


class Engine:
    """Moves items with `jobs` workers for items and as many for the parts of large ones."""

    def __init__(self, client: Client, options: UploadOptions, progress: Silent) -> None:
        self._client = client
        self._options = options
        self._progress = progress

    def run(self, items: Iterable[Item], report: Callable[[Moved | Failed], None]) -> None:
        """Move everything; `report` is called for each item, by this thread. KeyboardInterrupt stops the workers."""
        jobs = self._options.jobs
        pending: set[Future[Moved | Failed]] = set()
        with ThreadPoolExecutor(jobs) as self._parts, ThreadPoolExecutor(jobs) as workers:
            try:
                for item in items:
                    pending.add(workers.submit(self._move, item))
                    if len(pending) >= jobs * _AHEAD:
                        done, pending = wait(pending, return_when=FIRST_COMPLETED)
                        for future in done:
                            report(future.result())
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        report(future.result())
            except BaseException:
                self._progress.stop()
                for future in pending:
                    future.cancel()
                raise

    def _move(self, item: Item) -> Moved | Failed:
        try:
            self._progress.advance(0)
            return Moved(item, self._transfer(item))
        except CliError as error:
            return Failed(item, error)

    def _transfer(self, item: Item) -> Uploaded | Downloaded | None:
        match item:
            case Upload(source, target):
                with _file_errors(source), errors_about(target):
                    return upload_file(
                        self._client, self._parts, source, target, self._options_for(source), self._progress
                    )
            case Download(source, target):
                with _file_errors(target), errors_about(source):
                    return self._download(item)
            case Copy(source, target):
                with errors_about(source):
                    return self._copy(item)
            case Refused(name, reason):
                raise CliError(f"{name}: {reason}")
        raise AssertionError(item)

    def _options_for(self, source: Path) -> UploadOptions:
        """The options with a content type of the file's own, where none was asked for."""
        kind = None if "ContentType" in self._options.attributes else by_name(source.name)
        return (
            replace(self._options, attributes={**self._options.attributes, "ContentType": kind})
            if kind
            else self._options
        )

    def _download(self, item: Download) -> Downloaded | None:
        if item.source.key.endswith("/"):
            item.target.mkdir(parents=True, exist_ok=True)
            return None
        item.target.parent.mkdir(parents=True, exist_ok=True)
        each = self._options.part_size
        return download_file(self._client, self._parts, item.source, item.target, self._progress, each=each)

    def _copy(self, item: Copy) -> Uploaded:
        source = {"Bucket": item.source.bucket, "Key": item.source.key}
        head = self._client.head_object(**source)
        size: int = head["ContentLength"]
        if size > _LARGEST_COPY:
            raise CliError(f"{item.source} is larger than the 5 GiB that one copy takes: get it and put it", Exit.USAGE)
        self._progress.expect(size)
        wanted: dict[str, Any] = {"CopySource": source, "CopySourceIfMatch": head["ETag"]}
        answer = self._client.copy_object(Bucket=item.target.bucket, Key=item.target.key, **wanted)
        self._progress.advance(size)
        return Uploaded(size, answer["CopyObjectResult"]["ETag"].strip('"'), answer.get("VersionId"))


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """What the file system refuses, as an error of the item."""
    try:
        yield
    except OSError as error:
        code = {errno.ENOENT: Exit.NOT_FOUND, errno.EACCES: Exit.DENIED, errno.ENOSPC: Exit.FULL}
        raise CliError(f"{path}: {error.strerror or error}", code.get(error.errno or 0, Exit.FAILURE)) from error
