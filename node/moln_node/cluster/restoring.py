"""Restoring rows of this node's index that can't be read, from the other owners of their registers.

An owner that can't read a row has forgotten what it acknowledged with it, as one that lost its disk has, but for one
register: while it is so it neither answers nor votes for that register. It takes the row over from a majority of the
other owners, once every operation is over that may still count on what it had said. Told by the replica, which meets
such rows; one task does them one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from moln_node.cluster.errors import PeerError
from moln_node.cluster.registers import OPERATION_SECONDS
from moln_node.store.errors import ClosedError, StoreError

if TYPE_CHECKING:
    from moln_node.cluster.repair import Repair
    from moln_node.store.registers import Register

_OVER_SECONDS: Final = 2 * OPERATION_SECONDS
_RETRY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.5
_MOST: Final = 10_000
"""What is met beyond that is met again by the next sweep."""
_log = logging.getLogger(__name__)


class Restoring:
    """Restores registers of this node of which a row can't be read."""

    def __init__(self, repair: Repair) -> None:
        self._repair = repair
        self._due: dict[Register, float] = {}
        self._in_vain: set[Register] = set()

    @property
    def left(self) -> int:
        """How many registers are known of which a row can't be read."""
        return len(self._due)

    @property
    def lost(self) -> int:
        """How many of them could not be restored when that was tried last."""
        return len(self._in_vain)

    def notice(self, register: Register) -> None:
        """A row of this register can't be read here."""
        if register in self._due or len(self._due) >= _MOST:
            return
        _log.error("%r can't be read in this node's index: it is to be restored from its other owners", register.path)
        self._repair.found += 1
        self._due[register] = asyncio.get_running_loop().time() + _OVER_SECONDS

    async def run(self) -> None:
        """Restore what can't be read, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            for register in [one for one, due in self._due.items() if due <= loop.time()]:
                try:
                    await self._repair.restore(register)
                except ClosedError:
                    return
                except (PeerError, StoreError) as error:
                    level = logging.INFO if register in self._in_vain else logging.WARNING
                    _log.log(level, "%r can't be restored yet, and is tried again: %s", register.path, error)
                    self._due[register] = loop.time() + _RETRY_SECONDS
                    self._in_vain.add(register)
                else:
                    _log.warning("%r is whole again here", register.path)
                    self._repair.healed += 1
                    del self._due[register]
                    self._in_vain.discard(register)
