"""What this node itself has of a register, seen and held in one look at the index: the record and its bytes.

Whoever reads an object asks its owners; this node's own answer comes through a `Sight`, so that the bytes which the
answer speaks of are still there when it turns out to be the one that counts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moln_node.store import registers
from moln_node.store.errors import CorruptError
from moln_node.store.registers import KeyState

if TYPE_CHECKING:
    import apsw

    from moln_node.cluster.local import LocalStore
    from moln_node.cluster.messages import Ask
    from moln_node.store.reading import Held

    Seen = tuple[KeyState, Held | CorruptError | None]


class Sight:
    """One reader's look at one register. `close` lets go of what is held, also of what a look under way will find."""

    def __init__(self, local: LocalStore) -> None:
        self._local = local
        self._looking: asyncio.Future[Seen] | None = None

    async def ask(self, message: Ask) -> KeyState:
        """As `Replica.ask`; what the newest object (or the one in the slot) needs is held from now on."""
        self.close()
        number = self._local.number(message.register)
        if number is None:
            return KeyState()
        self._looking = self._local.store.look(lambda db: self._find(db, number, message))
        return (await asyncio.shield(self._looking))[0]  # a look whose outcome nobody takes would keep its pins

    def _find(self, db: apsw.Connection, number: int, message: Ask) -> Seen:
        key = message.register.key.encode()
        state, found = registers.look(db, number, key, message.slot, message.depth)
        if found is None or not found[1].counted or found[1].body:
            return state, None
        try:
            return state, self._local.store.hold(db, number, key, found)
        except CorruptError as error:
            return state, error

    def held(self, version: bytes) -> Held | None:
        """The bytes of that version, until `close`; None if it is not here. CorruptError if they are bad."""
        if self._looking is None or not self._looking.done():
            return None
        held = self._looking.result()[1]
        if isinstance(held, CorruptError):
            raise held
        return held if held is not None and held.version.to_bytes() == version else None

    def close(self) -> None:
        """Hold nothing any more."""
        looking, self._looking = self._looking, None
        if looking is not None and looking.done():
            self._release(looking)
        elif looking is not None:
            looking.add_done_callback(self._release)

    def _release(self, looking: asyncio.Future[Seen]) -> None:
        if not looking.cancelled() and looking.exception() is None:
            held = looking.result()[1]
            if held is not None and not isinstance(held, CorruptError):
                self._local.store.release(held)
