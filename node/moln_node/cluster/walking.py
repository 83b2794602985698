"""Walking over what this node keeps, version by version, at a pace that leaves clients half of the machine.

Used by `reassigning` and `rewriting`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.store import kept, lookup
from moln_node.store.errors import CorruptError, NoSuchBucketError
from moln_node.store.registers import NULL_SLOT, Register, Space, number
from moln_node.store.scan import past

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.cluster.local import LocalStore
    from moln_node.store.documents import RecordDocument
    from moln_node.store.report import Report
    from moln_node.store.transaction import BucketRow
    from moln_spec.version import Version

_PAGE: Final = 100
_LONGEST_REST_SECONDS: Final = 0.5
_PACE_SECONDS: Final = 5.0
"""How long it must have gone on before its pace says anything."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects: those of a bucket (empty: of all) whose keys begin with a prefix."""

    bucket: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A version of an object that this node keeps."""

    register: Register
    version: Version
    document: RecordDocument

    @property
    def slot(self) -> bytes:
        """Where it is in its register."""
        return NULL_SLOT if self.document.null else self.version.to_bytes()


class Pace:
    """Rests as long as it has worked, so that clients have at least half of the disk and the processor."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    async def rest(self) -> None:
        """Rest for the work since the last rest."""
        await asyncio.sleep(min(time.monotonic() - self._begun, _LONGEST_REST_SECONDS))
        self._begun = time.monotonic()


class Walk:
    """Every version that this node keeps in a scope and in some spaces, a page at a time, and how far that is.

    Attributes:
        pace: at which it goes.
        total: versions there were when it began.
        seen: of them, gone by.
    """

    def __init__(self, local: LocalStore, report: Report, scope: Scope, spaces: tuple[Space, ...]) -> None:
        self._local = local
        self._report = report
        self._scope = scope
        self._spaces = spaces
        self._start = scope.prefix.encode()
        self._upper = past(self._start)
        self.pace = Pace()
        self.total = self.seen = self.bad = 0

    async def versions(self) -> AsyncIterator[Kept]:
        """Each of them; NoSuchBucketError where the scope's bucket is not there."""
        store = self._local.store
        rows = [row for row in store.buckets.values() if self._scope.bucket in ("", row.bucket.name)]
        if self._scope.bucket and not rows:
            raise NoSuchBucketError(f"there is no bucket {self._scope.bucket!r}")
        walks = [(row, space, number(space, row.id)) for row in rows for space in self._spaces]
        for _, _, held in walks:
            self.total += await store.look(lambda db, held=held: kept.count(db, held, self._start, self._upper))  # type: ignore[misc]
        begun = time.monotonic()
        for row, space, held in walks:
            place = (self._start, b"")
            while page := await store.look(
                lambda db, held=held, place=place: kept.page(db, held, place, self._upper, _PAGE)  # type: ignore[misc]
            ):
                self._tell(begun)
                for key, inverse, stored in page:
                    self.seen += 1
                    one = self._decode(row, space, key, inverse, stored)
                    if one is not None and one.document.counted:
                        yield one
                place = page[-1][:2]
                await self.pace.rest()
        self._tell(begun)

    def _decode(self, row: BucketRow, space: Space, key: bytes, inverse: bytes, stored: bytes) -> Kept | None:
        register = Register(space, key.decode(), row.bucket.name, row.incarnation)
        try:
            return Kept(register, *lookup.decode_record(number(space, row.id), key, inverse, stored))
        except CorruptError as error:
            self.damaged(register, error)
            return None

    def damaged(self, register: Register, error: CorruptError) -> None:
        """Tell of a copy that can't be read: it is left as it is."""
        self.bad += 1
        self._report.found(f"{register.path}: {error}")

    def _tell(self, begun: float) -> None:
        gone = time.monotonic() - begun
        if self.seen and gone >= _PACE_SECONDS:
            self._report.set(seconds_left=round(gone * max(0, self.total - self.seen) / self.seen))
        self._report.set(versions=self.seen, total=self.total, bad=self.bad)
