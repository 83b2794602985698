"""Whether the nodes that stay have room for what the leaving ones hold: asked before a drain begins. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Volume:
    """A node's disk in bytes, as its file system says."""

    capacity_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Taker:
    """A node that stays, and takes its share by weight of what the leaving ones hold."""

    name: str
    weight: float
    volume: Volume


def lacking(need: int, takers: Sequence[Taker], reserve_percent: float) -> dict[str, int]:
    """The bytes that each node lacks to take its share of `need` bytes, by name; those that lack none are left out.

    `reserve_percent` of each volume stay free: writes must leave that too.
    """
    weights = sum(taker.weight for taker in takers)
    found: dict[str, int] = {}
    for taker in takers:
        room = taker.volume.free_bytes - taker.volume.capacity_bytes * reserve_percent / 100
        lacks = need * taker.weight / weights - room
        if need and lacks > 0:
            found[taker.name] = int(lacks) + 1
    return found
