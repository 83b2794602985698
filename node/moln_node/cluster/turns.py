"""Whose turn it is to do what one node does for all: the first member that is there.

Asked anew each time, so that a node that is down, or refills its disk, stops nothing. It is no lock: while nodes can't
reach each other two may think so. What is done by turns has to bear that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from moln_node.cluster.errors import PeerError, StaleEpochError, UnavailableError
from moln_node.cluster.messages import Ask
from moln_node.store.errors import StoreError
from moln_node.store.registers import Register, Space

if TYPE_CHECKING:
    from moln_node.cluster.members import Members, Obeyed

_SECONDS: Final = 10.0
_QUESTION: Final = Ask(Register(Space.BUCKETS, ""), None)
"""About nothing; only a node that votes answers it."""


async def is_ours(members: Members) -> bool:
    """Whether this node is the first of the map's members that answers and votes.

    Raises:
        UnavailableError: this node does not vote, and nobody before it is there.
    """
    now = members.now
    for name in now.participants:
        if name == now.me:
            break
        if await _is_there(now, name):
            return False
    if not members.own.voting:
        raise UnavailableError("this node does not count as an owner yet, and none before it is there")
    return True


async def _is_there(now: Obeyed, name: str) -> bool:
    try:
        async with asyncio.timeout(_SECONDS):
            await now.replica(name).ask(_QUESTION)
    except StaleEpochError:
        return True  # it obeys a newer map already
    except (PeerError, StoreError, TimeoutError):
        return False
    return True
