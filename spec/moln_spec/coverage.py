"""How many copies the nodes that serve hold between them: what "is my data safe?" is answered from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from moln_spec.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from moln_spec.cloudmap import CloudMap, Layout, Member

    Table = tuple[tuple[Member, ...], ...]


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

    While a change of layout is under way, copies count in the layout before it, which is the one that is complete;
    and a partition is stuck when either list of owners has no quorum, because writes need both (docs/membership.md).
    """
    change = cloud_map.change
    layouts = (cloud_map.layout,) if change is None else (change.before, cloud_map.layout)
    stuck: set[int] = set()
    for layout in layouts:
        for table in _tables(layout, cloud_map.partitions):
            stuck.update(partition for partition, owners in enumerate(table) if not _has_quorum(owners, serving))
    worst = [
        (min(sum(owner.name in serving and not owner.lost for owner in owners) for owners in table), len(table[0]))
        for table in _tables(layouts[0], cloud_map.partitions)
    ]
    fewest, copies = min(worst)
    return Coverage(copies=copies, fewest=fewest, stuck=len(stuck), partitions=cloud_map.partitions)


def _has_quorum(owners: tuple[Member, ...], serving: AbstractSet[str]) -> bool:
    """Whether as many serve as a majority of the list, or all that are not lost where these are fewer."""
    left = [owner for owner in owners if not owner.lost]
    return sum(owner.name in serving for owner in left) >= min(len(owners) // 2 + 1, len(left))


def _tables(layout: Layout, partitions: int) -> Iterator[Table]:
    """The owners of each partition, for every rule that some key falls under."""
    placement = _placement(layout, partitions)
    for rule in dict.fromkeys((placement.rule("", ""), *(r for r in layout.replication if r.buckets or r.prefixes))):
        yield placement.table(rule)


@lru_cache(maxsize=256)
def _placement(layout: Layout, partitions: int) -> Placement:
    return Placement(layout, partitions)
