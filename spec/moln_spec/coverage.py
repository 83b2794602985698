"""How many copies the nodes that serve hold between them: what "is my data safe?" is answered from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from moln_spec import placement
from moln_spec.cloudmap import DEFAULT_COPIES, Replication

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from moln_spec.cloudmap import CloudMap, Layout


@dataclass(frozen=True, slots=True)
class Coverage:
    """What serves of the owners of every key.

    Attributes:
        copies: owners that a key has, by the replication rule that is worst off.
        fewest: owners that serve of the key that is worst off.
        stuck: partitions that can neither be read nor written, because no majority of their owners serves.
        partitions: all partitions.
    """

    copies: int
    fewest: int
    stuck: int
    partitions: int

    @property
    def at_risk(self) -> bool:
        """Whether something can't be reached at all, or would be lost with one more node."""
        return self.fewest == 0 or (self.fewest == 1 and self.copies > 1)


def coverage(cloud_map: CloudMap, serving: AbstractSet[str]) -> Coverage:
    """What the nodes named `serving` hold.

    While a change of layout is under way, the layout before it counts: it is the one that is complete.
    """
    layout = cloud_map.layout if cloud_map.change is None else cloud_map.change.before
    found = [
        _of_rule(_owners(layout, rule.copies, rule.spread, cloud_map.partitions), serving) for rule in _rules(layout)
    ]
    return min(found, key=lambda one: (one.fewest, -one.stuck))


def _rules(layout: Layout) -> tuple[Replication, ...]:
    """The replication rules; one without a selector is always among them."""
    if any(not (rule.buckets or rule.prefixes) for rule in layout.replication):
        return layout.replication
    return (*layout.replication, Replication(name="", copies=DEFAULT_COPIES))


def _of_rule(owners: tuple[tuple[str, ...], ...], serving: AbstractSet[str]) -> Coverage:
    left = [sum(name in serving for name in names) for names in owners]
    stuck = sum(2 * alive <= len(names) for alive, names in zip(left, owners, strict=True))
    return Coverage(copies=len(owners[0]), fewest=min(left), stuck=stuck, partitions=len(owners))


@lru_cache(maxsize=256)
def _owners(layout: Layout, copies: int, spread: str, partitions: int) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(
            node.name
            for node in placement.owners(layout.members, partition, copies, "node" if spread == "node" else "zone")
        )
        for partition in range(partitions)
    )
