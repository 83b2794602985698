"""The ledger: how much each bucket and class holds, and how much is on its way; says no before a byte is taken.

A reservation counts from the moment a write is admitted until it is committed or given up, so writers that run at once
can't overshoot together. The event loop reserves, the writing lane commits: every method holds the lock for
microseconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.store.errors import QuotaExceededError, StorageFullError
from moln_node.store.model import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


_SPACE_AGE: Final = 0.1
"""Seconds for which a look at the volume holds; what settles meanwhile is taken off."""

UPLOADS: Final = 1 << 40
"""What this and the number of a bucket add up to carries the rows of its uploads; they count against its quota."""

OWED: Final = 2 * UPLOADS
"""The same for writes that are owed to other owners; they count once more while they are."""

BODIES: Final = 3 * UPLOADS
"""The same for bodies that are apart from their records."""

ELSEWHERE: Final = 4 * UPLOADS
"""In usage alone, of records whose bytes are apart: they are the bucket's, and not on this disk."""


@dataclass(slots=True)
class Reservation:
    """Room for `size` bytes of a bucket's; given back once, by commit or release."""

    ledger: Ledger
    bucket_id: int
    size: int
    held: bool = True

    def release(self) -> None:
        """Give the room back; again does nothing."""
        self.ledger.settle({}, (self,))


@dataclass(frozen=True, slots=True)
class Space:
    """The volume: all of it, and what an unprivileged writer may still use, in bytes."""

    total: int
    available: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a write must stay within; None where there is no bound."""

    bucket_quota: int | None
    node_quota: int | None
    reserve_percent: float


class Ledger:
    """Usage by bucket and class, and reservations."""

    def __init__(self, volume: Path, usage: Mapping[tuple[int, str], tuple[int, int]]) -> None:
        self._volume = volume
        self._lock = threading.Lock()
        self._usage = {place: list(sums) for place, sums in usage.items()}
        self._held: Counter[int] = Counter()
        self._in_flight: Counter[int] = Counter()
        self._total_held = 0
        self._total_in_flight = 0
        self._measured: Space | None = None
        self._measured_at = 0.0
        self._settled_since = 0  # bytes that were in flight when the volume was measured, or came after
        for (bucket_id, _), (_, size) in usage.items():
            self._hold(bucket_id, size)

    def reserve(self, bucket_id: int, size: int, bounds: Bounds) -> Reservation:
        """Admit a write of `size` bytes.

        Raises:
            QuotaExceededError: the bucket or the node would hold more than its quota.
            StorageFullError: the volume would have less than its reserve left.
        """
        space = self._recent_space()
        floor = space.total * bounds.reserve_percent / 100
        with self._lock:
            bucket_after = self._held[bucket_id] + self._in_flight[bucket_id] + size
            if bounds.bucket_quota is not None and bucket_after > bounds.bucket_quota:
                raise QuotaExceededError(
                    f"the bucket would hold {bucket_after} bytes, its quota is {bounds.bucket_quota}: "
                    "delete objects or raise the quota"
                )
            node_after = self._total_held + self._total_in_flight + size
            if bounds.node_quota is not None and node_after > bounds.node_quota:
                raise QuotaExceededError(
                    f"the node would hold {node_after} bytes, its quota is {bounds.node_quota}: "
                    "delete objects, raise the quota or add nodes"
                )
            if space.available - self._settled_since - self._total_in_flight - size < floor:
                raise StorageFullError(
                    f"the volume has {space.available} bytes left and keeps {floor:.0f} in reserve: "
                    "delete objects, grow the volume or add nodes"
                )
            self._in_flight[bucket_id] += size
            self._total_in_flight += size
        return Reservation(self, bucket_id, size)

    def settle(self, usage: Mapping[tuple[int, str], list[int]], reservations: Iterable[Reservation]) -> None:
        """Take up what a commit changed, and give back what was reserved for it, in one step."""
        with self._lock:
            for reservation in reservations:
                if reservation.held:
                    reservation.held = False
                    self._in_flight[reservation.bucket_id] -= reservation.size
                    self._total_in_flight -= reservation.size
                    self._settled_since += reservation.size
            for place, (objects, size) in usage.items():
                sums = self._usage.setdefault(place, [0, 0])
                sums[0] += objects
                sums[1] += size
                self._hold(place[0], size)

    def _hold(self, bucket_id: int, size: int) -> None:
        """A body that is apart is no bucket's a second time, and the bytes of its record are not here."""
        if not _is_apart(bucket_id):
            self._held[bucket_id % UPLOADS] += size
        if bucket_id < ELSEWHERE:
            self._total_held += size

    def bucket_usage(self, bucket_id: int) -> Usage:
        """What the bucket's objects amount to; parts of uploads under way are not objects yet."""
        with self._lock:
            mine = [sums for (bucket, _), sums in self._usage.items() if bucket in (bucket_id, bucket_id + ELSEWHERE)]
        return Usage(sum(objects for objects, _ in mine), sum(size for _, size in mine))

    def usage_by_bucket(self) -> dict[int, Usage]:
        """What each bucket's objects amount to, by the bucket's number, be their bytes here or not."""
        sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        with self._lock:
            for (bucket, _), (objects, size) in self._usage.items():
                if 0 < bucket < UPLOADS or bucket >= ELSEWHERE:
                    sums[bucket % UPLOADS][0] += objects
                    sums[bucket % UPLOADS][1] += size
        return {bucket: Usage(objects, size) for bucket, (objects, size) in sums.items() if objects}

    def class_usage(self) -> dict[str, Usage]:
        """What each storage class amounts to here, over all buckets: objects whose bytes are on this disk."""
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        with self._lock:
            for (bucket, name), (objects, size) in self._usage.items():
                if _has_bytes(bucket):
                    sums[name][0] += objects
                    sums[name][1] += size
        return {name: Usage(objects, size) for name, (objects, size) in sorted(sums.items()) if objects}

    def usage(self) -> Usage:
        """What the objects amount to whose bytes are on this disk."""
        with self._lock:
            held = [sums for (bucket, _), sums in self._usage.items() if _has_bytes(bucket)]
        return Usage(sum(objects for objects, _ in held), sum(size for _, size in held))

    def in_flight(self) -> int:
        """Bytes reserved by writes that are under way."""
        with self._lock:
            return self._total_in_flight

    def _recent_space(self) -> Space:
        """The volume as it was up to `_SPACE_AGE` ago: asking the kernel for each small write would stall the loop."""
        now = time.monotonic()
        if self._measured is None or now - self._measured_at >= _SPACE_AGE:
            self._settled_since = 0
            self._measured, self._measured_at = self.space(), now
        return self._measured

    def space(self) -> Space:
        """The volume as it is now."""
        found = os.statvfs(self._volume)
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


def _is_apart(bucket_id: int) -> bool:
    """The rows are bodies apart from their records."""
    return BODIES <= bucket_id < ELSEWHERE


def _has_bytes(bucket_id: int) -> bool:
    """The rows are objects, or bodies of such, whose bytes are on this disk."""
    return 0 < bucket_id < UPLOADS or _is_apart(bucket_id)
