"""Whether the nodes that stay have room for what the leaving ones hold: asked before a drain begins. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
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


def gained(before: Layout, after: Layout, partitions: int, leaving: Mapping[str, int]) -> dict[str, float]:
    """What of the leaving bytes each node comes to own, by name, relative to the others; who owns nothing is left out.

    `leaving` are these bytes by storage class. Those of a class that has a place go where its partitions go. Of the
    rest nobody knows how much each rule has, and how much is pinned to a pool: there all partitions count alike.
    """
    old, new = Placement(before, partitions), Placement(after, partitions)
    known = {rule.name: rule for rule in (*old.rules(), *(own for place in before.places for own in place.replication))}
    bodies = [(place.name, rule) for place in after.places for rule in (*new.rules(), *place.replication)]
    taken: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for place, rule in (*(("", rule) for rule in new.rules()), *bodies):
        earlier = known.get(rule.name, old.rule("", ""))
        then, now = old.table(old.placed(earlier, place)), new.table(new.placed(rule, place))
        for had, has in zip(then, now, strict=True):
            taken[place if place in leaving else ""].update({m.name for m in has} - {m.name for m in had})
    weights = {place: leaving[place] for place, nodes in taken.items() if place and nodes}
    weights[""] = sum(leaving.values()) - sum(weights.values()) or 1
    found: dict[str, float] = {}
    for place, weight in weights.items():
        for name, number in taken[place].items():
            found[name] = found.get(name, 0.0) + weight * number / taken[place].total()
    return found


def lacking(
    need: int, shares: Mapping[str, float], volumes: Mapping[str, Volume], reserve_percent: float
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
