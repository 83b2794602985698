"""Buckets: registers that every node holds, and a cache that is never long behind.

A node uses what it knows of a bucket for at most `CACHE_SECONDS` after it began to ask a majority; a change is answered
only when every node has it, or that time has passed. So, once a change is answered, no node acts on what was before.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from moln_node.cluster import locking
from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.messages import Install, SlotWrite
from moln_node.cluster.registers import Change
from moln_node.store.clock import wall_ms
from moln_node.store.errors import BucketExistsError, BucketNotEmptyError, NoSuchBucketError, StoreError
from moln_node.store.registers import Register, Row, Space, tombstone
from moln_node.store.steps.bucket_register import bucket_of, closing_of, record_of
from moln_node.store.steps.replica import Outcome
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from moln_node.cluster.members import Members
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.store.model import Bucket, Versioning
    from moln_node.store.store import Store
    from moln_node.store.transaction import BucketRow

CACHE_SECONDS: Final = 1.0
_ABANDONED_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Known:
    """A bucket, the version that made it, and the deletion that it is closed for (empty: it is open)."""

    bucket: Bucket
    incarnation: bytes
    closing: str = ""


@dataclass(frozen=True, slots=True)
class _Cached:
    known: Known
    until: float
    local: BucketRow | None


class Buckets:
    """What this node knows of buckets, and how it changes them."""

    def __init__(self, members: Members, registers: Registers, store: Store) -> None:
        self._members = members
        self._registers = registers
        self._store = store
        self._cache: dict[str, _Cached] = {}
        self._looking: dict[str, asyncio.Task[Known]] = {}

    async def get(self, name: str) -> Known:
        """The bucket, not older than `CACHE_SECONDS`; NoSuchBucketError."""
        cached = self._cache.get(name)
        if cached is not None and cached.until > time.monotonic() and self._store.buckets.get(name) is cached.local:
            return cached.known
        looking = self._looking.get(name)
        if looking is None:
            looking = asyncio.create_task(self._look(name))
            self._looking[name] = looking
            looking.add_done_callback(lambda task: self._looked(name, task))
        return await asyncio.shield(looking)

    def _looked(self, name: str, task: asyncio.Task[Known]) -> None:
        self._looking.pop(name, None)
        if not task.cancelled():
            task.exception()

    async def _look(self, name: str) -> Known:
        self._cache.pop(name, None)
        until = time.monotonic() + CACHE_SECONDS
        local = self._store.buckets.get(name)
        row = (await self._registers.look(_register(name))).newest
        if row is None:
            raise NoSuchBucketError(f"there is no bucket {name!r}")
        known = _known(name, row)
        if known.closing and Version.from_bytes(row.ballot).milliseconds < wall_ms() - _ABANDONED_MS:
            await self._reopen(known)  # whoever was deleting it is gone
            raise UnavailableError("the bucket was being deleted, and is open again: try again")
        self._cache[name] = _Cached(known, until, local)
        return known

    async def create(self, bucket: Bucket) -> None:
        """Make a bucket; BucketExistsError."""

        def choose(view: View, ballot: bytes) -> Change:
            if view.newest is not None:
                raise BucketExistsError(view.newest.document.owner)
            return Change((Row(ballot, ballot, record_of(bucket)),))

        await self._decide(bucket.name, choose)

    async def change(
        self,
        name: str,
        settings: Mapping[str, str | None] | None,
        versioning: Versioning | None,
        quota_bytes: int | None,
    ) -> Bucket:
        """Change what is given; a setting of None and a quota of 0 are removed."""

        def changed(bucket: Bucket) -> Bucket:
            merged = {**bucket.settings, **(settings or {})}
            after = replace(
                bucket,
                settings={key: value for key, value in merged.items() if value is not None},
                versioning=bucket.versioning if versioning is None else versioning,
                quota_bytes=bucket.quota_bytes if quota_bytes is None else quota_bytes or None,
            )
            locking.require_sound(after)
            return after

        return (await self._set(name, lambda bucket, closing, _: (changed(bucket), closing))).bucket

    async def delete(self, name: str, is_empty: Callable[[Known, frozenset[str]], Awaitable[bool]]) -> None:
        """Remove an empty bucket; BucketNotEmptyError.

        First it closes: the nodes that heard of it take no more writes, and are enough that no write can find a
        majority without them. What `is_empty` finds on those nodes is therefore the last word, as long as nobody opens
        it again: a closing has a name of its own, so that another one after that is not taken for this one.
        """
        known = await self._set(name, lambda bucket, _, ballot: (bucket, Version.from_bytes(ballot).encode()))
        try:
            await self._require_empty(known, is_empty)
        except BaseException:
            await asyncio.shield(self._reopen(known))
            raise

        def choose(view: View, ballot: bytes) -> Change:
            if view.newest is None or view.newest.version != known.incarnation:
                raise NoSuchBucketError(f"there is no bucket {name!r}")
            if closing_of(view.newest.document) != known.closing:
                raise UnavailableError("the bucket was opened again, or closed by another request: try again")
            return Change((tombstone(ballot, ballot, null=True, now_ms=wall_ms()),))

        await self._decide(name, choose)

    async def _reopen(self, known: Known) -> None:
        """Let a bucket take writes again, if it is still closed for the deletion that was seen."""

        def choose(view: View, ballot: bytes) -> Change:
            row = view.newest
            if row is None or row.version != known.incarnation or closing_of(row.document) != known.closing:
                return Change()
            return Change((Row(row.version, ballot, record_of(bucket_of(known.bucket.name, row.document))),))

        await self._decide(known.bucket.name, choose)

    async def _require_empty(self, known: Known, is_empty: Callable[[Known, frozenset[str]], Awaitable[bool]]) -> None:
        told = await self._spread(known.bucket.name)
        if not self._members.owners.are_covered_by(told, known.bucket.name):
            raise UnavailableError("too few nodes can be reached to see whether the bucket is empty: try again")
        if not await is_empty(known, told):
            raise BucketNotEmptyError(f"bucket {known.bucket.name!r} still holds versions: delete them first")

    async def _set(self, name: str, changed: Callable[[Bucket, str, bytes], tuple[Bucket, str]]) -> Known:
        """Change a bucket, and for which deletion it is closed; the third that is given is the ballot of the change."""
        after: list[Known] = []

        def choose(view: View, ballot: bytes) -> Change:
            row = view.newest
            if row is None:
                raise NoSuchBucketError(f"there is no bucket {name!r}")
            bucket, closing = changed(bucket_of(name, row.document), closing_of(row.document), ballot)
            after.append(Known(bucket, row.version, closing))
            return Change((Row(row.version, ballot, record_of(bucket, closing)),))

        await self._decide(name, choose)
        return after[-1]

    async def _decide(self, name: str, choose: Callable[[View, bytes], Change]) -> None:
        """Decide about a bucket, and return when no node can be acting on what was before."""
        try:
            _, change = await self._registers.decide(_register(name), choose)
        finally:
            self._cache.pop(name, None)
        if change.rows:
            await self._tell(name, change.rows[0])

    async def _spread(self, name: str) -> frozenset[str]:
        """Tell every node what the bucket's register holds now; those that have heard."""
        view = await self._registers.look(_register(name))
        if view.newest is None:
            raise NoSuchBucketError(f"there is no bucket {name!r}")
        return await self._tell(name, view.newest)

    async def _tell(self, name: str, row: Row) -> frozenset[str]:
        message = Install(_register(name), (SlotWrite(row),))
        now = self._members.now

        async def tell(node: str) -> str:
            vote = await now.replica(node).install(message)
            return node if vote.outcome == Outcome.DONE else ""

        told = {asyncio.create_task(tell(node)): node for node in now.owners.everyone}
        begun = time.monotonic()
        done, pending = await asyncio.wait(told, timeout=CACHE_SECONDS)
        for task in pending:
            task.cancel()
        heard = frozenset(
            task.result() for task in done if not isinstance(task.exception(), PeerError | StoreError)
        ) - {""}
        if len(heard) < len(told):
            await asyncio.sleep(max(0.0, CACHE_SECONDS - (time.monotonic() - begun)))
        return heard


def _register(name: str) -> Register:
    return Register(Space.BUCKETS, name)


def _known(name: str, row: Row) -> Known:
    return Known(bucket_of(name, row.document), row.version, closing_of(row.document))
