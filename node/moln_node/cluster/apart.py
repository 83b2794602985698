"""Bodies apart from their records: an object's bytes in a place of the map, its record with the key's owners.

Such a body is a register of its own, owned by members of the place's pools, so that all that is true of registers is
true of it: majorities, two lists of owners, repair. It is written before the record that names it, under a name that
nothing else has, and its bytes never change. A body that no record names is dropped by `unnamed`; for that to be safe a
ballot at which a record names a body is given out within a minute after the body was written (docs/guarantees.md).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.cluster import bodykeys, records
from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.graves import elapsed_clock
from moln_node.cluster.messages import SlotWrite
from moln_node.cluster.registers import Change, from_holders
from moln_node.store.clock import wall_ms
from moln_node.store.errors import StoreError
from moln_node.store.registers import NULL_SLOT, Register, Row, Space, tombstone
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from moln_node.cluster.cloud import CloudObjects
    from moln_node.cluster.quorum import View
    from moln_node.cluster.registers import Registers
    from moln_node.cluster.sight import Sight
    from moln_node.store.documents import Parts
    from moln_node.store.model import Sealed

WINDOW_SECONDS: Final = 60.0
"""For so long after a body was written ballots are given out at which a record names it: far below `unnamed`'s lag."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """A body that is safe with a majority of its owners, and that a record may name for a minute.

    Attributes:
        body: its name.
        sealed: its digests.
        begun: when its owners were asked to take it, by `elapsed_clock`.
    """

    body: str
    sealed: Sealed
    begun: float

    def naming(self, row_at: Callable[[bytes], Row]) -> Callable[[bytes], Row]:
        """A row that names it, for each ballot that is given out in time; UnavailableError for later ones."""

        def named(ballot: bytes) -> Row:
            if elapsed_clock() - self.begun > WINDOW_SECONDS:
                raise UnavailableError("the bytes were written too long ago for a record to name them: try again")
            return row_at(ballot)

        return named


@dataclass(frozen=True, slots=True)
class Assembly:
    """What an uploaded body is made of: the registers of its parts with their versions, and what these begin with."""

    size: int
    parts: Parts
    taken: tuple[tuple[str, bytes], ...]
    prefix: str


class Apart:
    """Writes and finds them."""

    def __init__(self, cloud: CloudObjects, registers: Registers) -> None:
        self._cloud = cloud
        self._registers = registers

    @asynccontextmanager
    async def writing(
        self,
        register: Register,
        place: str,
        storage_class: str,
        body: AsyncIterator[bytes],
        size: int,
        seal: Callable[[], Awaitable[Sealed]],
    ) -> AsyncIterator[Written]:
        """Write a new body of an object's key; it is dropped again where its record is refused."""
        name = bodykeys.name(Version.from_bytes(await self._registers.ballot()).encode(), place)
        there = register_of(register, name)
        supply, sealed, staged = await self._cloud.take(there, body, size, seal, storage_class)
        begun = elapsed_clock()
        modified_ms = wall_ms()
        try:
            await self._registers.write(
                there,
                lambda version: records.body_row(version, size, sealed.etag, storage_class, modified_ms=modified_ms),
                supply,
            )
        except BaseException:
            await asyncio.shield(self._cloud.forget(staged))
            raise
        try:
            yield Written(name, sealed, begun)
        except UnavailableError:  # the record may have come about
            raise
        except StoreError:
            await self._drop(there)
            raise

    async def _drop(self, there: Register) -> None:
        """Drop a body that certainly no record names; where it can't be done now it is collected later."""
        try:
            await self._registers.write(there, lambda v: tombstone(v, v, null=True, now_ms=wall_ms()))
        except (PeerError, StoreError) as error:
            _log.info("the bytes of %s, which was refused, stay for now: %s", there.path, error)

    async def assemble(
        self, register: Register, upload_id: str, storage_class: str, sealed: Sealed, assembly: Assembly
    ) -> Written:
        """Make the parts of an upload its body; on each owner in one transaction, in which the parts end."""
        begun = elapsed_clock()
        modified_ms = wall_ms()

        def row_at(version: bytes) -> Row:
            return records.body_row(
                version, assembly.size, sealed.etag, storage_class, modified_ms=modified_ms, upload=upload_id
            )

        def supply(_: str, row: Row) -> SlotWrite:
            return SlotWrite(row, parts=assembly.parts, upload=("", assembly.prefix), taken=assembly.taken)

        await self._registers.write(register_of(register, upload_id), row_at, supply)
        return Written(upload_id, sealed, begun)

    async def assembled(self, register: Register, upload_id: str) -> tuple[int, Parts] | None:
        """The size and parts of an upload's body, if it was made already."""
        there = register_of(register, upload_id)
        view = await self._registers.look(there)
        row = view.newest
        if row is None:
            return None
        return row.document.size, await self._cloud.parts_of(there, row, sorted(view.holders[row.slot]))

    async def refresh(self, register: Register, upload_id: str, sealed: Sealed) -> Written | None:
        """Let a record name an upload's body that was made before; None if it is gone."""
        begun = elapsed_clock()

        def choose(view: View, ballot: bytes) -> Change:
            row = view.newest
            return Change() if row is None else Change((Row(row.version, ballot, row.document),), from_holders(view))

        _, change = await self._registers.decide(register_of(register, upload_id), choose)
        return Written(upload_id, sealed, begun) if change.rows else None

    async def find(self, register: Register, body: str, sight: Sight) -> tuple[Register, Row, frozenset[str]] | None:
        """A body's register, row, and an owner that has it: this node if it is one. None if it was dropped."""
        there = register_of(register, body)
        view = await self._registers.glance(there, NULL_SLOT, sight)
        row = view.newest
        return None if row is None else (there, row, view.holders[row.slot])


def register_of(register: Register, body: str) -> Register:
    """The register of a body of an object's key."""
    key = bodykeys.register_key(register.key, body)
    return Register(Space.BODIES, key, register.bucket, register.incarnation)
