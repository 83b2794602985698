"""The sweep: from time to time every register that this node owns is compared with its other owners.

What differs becomes a hint, so it is put right as a missed write is. It finds what nobody remembers: writes whose hint
was lost with its node, rows that an owner never heard of. On the way uploads that were begun too long ago are aborted,
and parts are dropped that came after their upload had ended, if their coordinator died before it saw that. One task for
each node, paced so that clients don't feel it; it begins anew when the node does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec import structs

from moln_node.cluster import clocks, comparing, uploadkeys
from moln_node.cluster.errors import PeerError
from moln_node.cluster.graves import elapsed_clock
from moln_node.cluster.uploads import end_part
from moln_node.store.clock import wall_ms
from moln_node.store.errors import ClosedError, StoreError
from moln_node.store.registers import IN_BUCKETS, Register, Space
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moln_node.cluster.members import Members
    from moln_node.store.scan import Entry
    from moln_node.store.store import Store

INTERVAL_SECONDS: Final = 900.0
LAG_SECONDS: Final = 300.0
"""What ended an upload is over by then, on all owners that take part in it: nobody needs its parts any more."""
PROMISE_MS: Final = 600_000
_MOST_LEFT: Final = 100_000
_PAUSE_SECONDS: Final = 0.1
_DAY_MS: Final = 24 * 3600 * 1000
_log = logging.getLogger(__name__)


class Sweep:
    """Compares this node's registers with the other owners'.

    Attributes:
        ended: when a sweep last came to its end, in seconds since 1970; None before the first.
        differed: registers that differed between their owners, since the start.

    `abort` is called with bucket, key and id of an upload that is too old.
    """

    def __init__(self, members: Members, store: Store, abort: Callable[[str, str, str], Awaitable[None]]) -> None:
        self._members = members
        self._store = store
        self._abort = abort
        self._left: dict[Register, float] = {}  # parts whose upload had ended, and when that was first seen
        self._known: dict[Register, float] = {}  # by the sweep before
        self._lag = LAG_SECONDS
        self.ended: float | None = None
        self.differed = 0

    async def run(self) -> None:
        """Sweep until cancelled; the nodes of a cloud don't begin together."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 (no secret)
            try:
                differing = await self.sweep()
                await self.forget_promises(PROMISE_MS)
            except ClosedError:
                return
            except (PeerError, StoreError) as error:
                _log.warning("the sweep stopped, and begins anew later: %s", error)
            else:
                self.ended = time.time()
                self.differed += differing
                if differing:
                    _log.info("%d registers differed between their owners", differing)

    async def sweep(self, lag: float = LAG_SECONDS) -> int:
        """Compare everything once; how many registers differed. Parts go whose upload had ended `lag` seconds ago."""
        self._known, self._left, self._lag = self._left, {}, lag
        differing = await self._space(Space.BUCKETS, "", b"")
        alone = self._members.own.alone  # nobody to compare objects with: only uploads can be too old
        for row in list(self._store.buckets.values()):
            for space in (Space.UPLOADS,) if alone else IN_BUCKETS:
                differing += await self._space(space, row.bucket.name, row.incarnation)
        return differing

    async def forget_promises(self, age_ms: int) -> int:
        """Drop the promises of conditional writes that are long over, which wrote nothing; how many."""
        return await self._members.own.forget_promises(Version.after(None, max(0, wall_ms() - age_ms), 0).to_bytes())

    async def _space(self, space: Space, bucket: str, incarnation: bytes) -> int:
        differing, last = 0, b""
        async for entries in comparing.rows(self._members.own.page, space, bucket, incarnation):
            keys = list(dict.fromkeys(entry.key for entry in entries if entry.key != last))  # one may fill many pages
            last = keys[-1] if keys else last
            differing += await self._compare([Register(space, key.decode(), bucket, incarnation) for key in keys])
            if space == Space.UPLOADS:
                await self._expire(bucket, entries)
                await self._drop_left(bucket, incarnation, entries)
            await asyncio.sleep(_PAUSE_SECONDS)
        return differing

    async def _compare(self, registers: list[Register]) -> int:
        """Ask the owners of each; what one misses that does not answer is found when it is back."""
        found, _silent = await comparing.owners_have(self._members.now, registers)
        differ = [register for register, theirs in found.items() if len(theirs) > 1]
        for register in differ:
            self._members.missed(register)
        return len(differ)

    async def _drop_left(self, bucket: str, incarnation: bytes, entries: tuple[Entry, ...]) -> None:
        """Drop the parts of uploads that ended some time ago, of those that this node is the first owner of."""
        now = self._members.now
        parts: defaultdict[Register, list[Register]] = defaultdict(list)
        for entry in entries:
            part = Register(Space.UPLOADS, entry.key.decode(), bucket, incarnation)
            if entry.row.live and not uploadkeys.is_upload(part.key) and now.electorate(part).owners[0] == now.me:
                key = uploadkeys.upload(uploadkeys.object_key(part.key), uploadkeys.upload_id(part.key))
                parts[structs.replace(part, key=key)].append(part)
        for upload, left in parts.items():
            try:
                await self._drop_left_of(upload, left)
            except StoreError as error:
                _log.info("parts of an upload of %s that may have ended stay for now: %s", bucket, error)

    async def _drop_left_of(self, upload: Register, parts: list[Register]) -> None:
        """Where a majority knows of no upload, or of its end: that is for ever, and they belong to nothing."""
        if (await self._members.registers.look(upload)).newest is not None:
            return
        moment = elapsed_clock()
        for part in parts:
            since = self._known.get(part, moment)
            if moment - since >= self._lag:
                await end_part(self._members.registers, part)
            elif len(self._left) < _MOST_LEFT:
                self._left[part] = since

    async def _expire(self, bucket: str, entries: tuple[Entry, ...]) -> None:
        """Abort uploads that were begun too long ago."""
        begun = [entry.row.document.modified_ms for entry in entries if _is_upload(entry)]
        days = self._members.map.limits.upload_expiry_days
        if not begun or min(begun) >= wall_ms() - days * _DAY_MS:
            return  # by this node's clock
        try:
            oldest = await clocks.agreed_ms(self._members.now) - days * _DAY_MS
        except StoreError as error:
            _log.info("uploads of %s that may be too old stay for now: %s", bucket, error)
            return
        for entry in entries:
            key = entry.key.decode()
            if _is_upload(entry) and _begun_ms(entry) < oldest:
                try:
                    await self._abort(bucket, uploadkeys.object_key(key), uploadkeys.upload_id(key))
                except StoreError as error:
                    _log.info("an old upload of %s could not be aborted: %s", bucket, error)


def _is_upload(entry: Entry) -> bool:
    return entry.row.live and uploadkeys.is_upload(entry.key.decode())


def _begun_ms(entry: Entry) -> int:
    """When it was begun: by the clock of who did so, or by its place in the order of versions where that is later."""
    return max(entry.row.document.modified_ms, Version.from_bytes(entry.row.version).milliseconds)
