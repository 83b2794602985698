"""Whether the nodes that stay have room for what the leaving ones hold: asked before a drain begins. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_spec.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_spec.cloudmap import Layout


@dataclass(frozen=True, slots=True)
class Volume:
    """A node's disk in bytes, as its file system says."""

    capacity_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0


def gained(before: Layout, after: Layout, partitions: int) -> Counter[str]:
    """How many partitions each node comes to own, by name, over all rules: nobody knows how much each of them has."""
    old, new = Placement(before, partitions), Placement(after, partitions)
    found: Counter[str] = Counter()
    for rule in new.rules():
        earlier = next((one for one in old.rules() if one.name == rule.name), old.rule("", ""))
        for had, has in zip(old.table(earlier), new.table(rule), strict=True):
            found.update({member.name for member in has} - {member.name for member in had})
    return found


def lacking(
    need: int, shares: Mapping[str, int], volumes: Mapping[str, Volume], reserve_percent: float
) -> dict[str, int]:
    """The bytes that each node lacks to take its share of `need` bytes, by name; those that lack none are left out.

    `reserve_percent` of each volume stay free: writes must leave that too.
    """
    found: dict[str, int] = {}
    for name, share in shares.items():
        volume = volumes[name]
        room = volume.free_bytes - volume.capacity_bytes * reserve_percent / 100
        lacks = need * share / sum(shares.values()) - room
        if lacks > 0:
            found[name] = int(lacks) + 1
    return found
