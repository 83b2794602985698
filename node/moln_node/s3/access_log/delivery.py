"""Bringing access logs to their buckets: lines are gathered in memory, and written as objects every minute.

As in S3 the log is told as well as it can be told, and nothing waits for it: a node that is killed loses the lines of
its last minute, and lines that find no room are dropped. Each node writes the log of the requests that it answered.
Made by `moln_node.s3.app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from moln_node.s3 import checksums
from moln_node.s3.access_log.configuration import SETTING, acl_of, target_of
from moln_node.s3.digests import BodyDigest
from moln_node.s3.errors import S3Error
from moln_node.s3.sse import cover as covers
from moln_node.store.errors import NoSuchBucketError, StoreError
from moln_node.store.model import Attributes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.cluster.objects import Objects
    from moln_node.s3.access_log.configuration import Target
    from moln_node.s3.access_log.line import Entry
    from moln_node.s3.auth.keyring import Keyring
    from moln_node.s3.settings import Settings
    from moln_node.store.model import Bucket, Sealed

_LARGEST: Final = 1024 * 1024  # bytes of an object: a log that has so many lines is written at once
_MOST: Final = 16 * 1024 * 1024  # bytes that wait altogether
_CLOSE_SECONDS: Final = 5.0
_log = logging.getLogger("moln.s3")


@dataclass(slots=True)
class _Pending:
    """Lines of one bucket, for one target."""

    source: Bucket
    target: Target
    lines: list[str] = field(default_factory=list)
    size: int = 0


class Delivery:
    """The access logs of the requests that this front answered, until they are objects."""

    def __init__(self, objects: Objects, keyring: Keyring, settings: Settings) -> None:
        self._objects = objects
        self._keyring = keyring
        self._settings = settings
        self._pending: dict[tuple[str, str], _Pending] = {}
        self._size = 0
        self._dropped = 0
        self._held_up = False  # the last delivery kept something: the next one waits for its time
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def note(self, bucket: Bucket, entry: Entry) -> None:
        """Take a request to a bucket that is logged."""
        target = target_of(bucket)
        if target is None:
            return
        line = entry.render()
        if self._size + len(line) > _MOST:
            self._dropped += 1
            return
        pending = self._pending.setdefault((bucket.name, bucket.settings[SETTING]), _Pending(bucket, target))
        pending.lines.append(line)
        pending.size += len(line)
        self._size += len(line)
        if pending.size >= _LARGEST and not self._held_up:
            self._start()
        else:
            self._wait()

    async def close(self) -> None:
        """Write what waits, within bounds; nothing may be noted any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._task is not None:
                    await self._task
                await self._deliver()
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settings.log_seconds, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._deliver(), name="moln-access-log")

    async def _deliver(self) -> None:
        """Write an object for each bucket that has lines. What cannot be written now is tried again with the next."""
        waiting, self._pending = self._pending, {}
        if self._dropped:
            _log.warning("%d lines of access logs were dropped: they came faster than they could be written",
                         self._dropped)  # fmt: skip
            self._dropped = 0
        self._held_up = False
        for slot, pending in waiting.items():
            try:
                await self._write(pending)
            except NoSuchBucketError:
                _log.warning("the access log of %s is lost: there is no bucket %s any more", pending.source.name,
                             pending.target.bucket)  # fmt: skip
                self._size -= pending.size
            except (StoreError, S3Error, OSError) as error:
                _log.warning("the access log of %s cannot be written to %s: %s", pending.source.name,
                             pending.target.bucket, error)  # fmt: skip
                self._keep(slot, pending)
            else:
                self._size -= pending.size
        if self._pending:  # what was kept, and what came meanwhile
            self._wait()

    def _keep(self, slot: tuple[str, str], pending: _Pending) -> None:
        """Put lines back, before those that came meanwhile."""
        self._held_up = True
        later = self._pending.get(slot)
        if later is not None:
            pending.lines += later.lines
            pending.size += later.size
        self._pending[slot] = pending

    async def _write(self, pending: _Pending) -> None:
        target = pending.target
        bucket = await self._objects.bucket(target.bucket)
        if bucket.owner != pending.source.owner:
            raise NoSuchBucketError(f"the bucket {target.bucket!r} is another owner's now")
        key = self._key(pending)
        data = "".join(pending.lines).encode("utf-8", "replace")
        cover = covers.for_write(self._keyring, {}, bucket, key)
        digest = BodyDigest(checksums.ALGORITHMS[checksums.DEFAULT_ALGORITHM])
        digest.take(data)

        async def seal() -> Sealed:
            return cover.sealed(digest, len(data))

        await self._objects.put(
            bucket.name,
            key,
            Attributes(bucket.owner, {"content-type": "text/plain"}, acl=acl_of(target, bucket), encryption=cover.text),
            cover.body(_once(data)),
            size=cover.size(len(data)),
            seal=seal,
        )

    def _key(self, pending: _Pending) -> str:
        """A name that nothing has: the prefix, the moment, and chance."""
        now, source, target = datetime.fromtimestamp(self._settings.now(), UTC), pending.source, pending.target
        name = f"{now:%Y-%m-%d-%H-%M-%S}-{secrets.token_hex(8).upper()}"
        if target.names not in {"EventTime", "DeliveryTime"}:
            return f"{target.prefix}{name}"
        region = source.settings.get("location", self._settings.region)
        return f"{target.prefix}{source.owner}/{region}/{source.name}/{now:%Y/%m/%d}/{name}"


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
