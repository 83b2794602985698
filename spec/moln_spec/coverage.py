"""How many copies the nodes that serve hold between them: what "is my data safe?" is answered from. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_spec.placement import Placement, candidates, quorum

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from moln_spec.cloudmap import CloudMap, Layout, Member, Replication

    Owners = frozenset[Member]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What serves of the owners of every key.

    Attributes:
        copies: owners that a key or a body has, by the replication rule that is worst off.
        fewest: owners that serve of the key or body that is worst off.
        stuck: partitions that can't be written, or not be read either, because no quorum of their owners serves; by the
            rule that is worst off.
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


class Covering:
    """A map's owners, ready to be asked again and again: made in milliseconds for each node, asked in microseconds.

    While a change of layout is under way, copies count in the layout before it, which is the one that is complete;
    and a partition is stuck when either list of owners has no quorum, because writes need both (docs/membership.md).
    """

    def __init__(self, cloud_map: CloudMap) -> None:
        change = cloud_map.change
        self._partitions = cloud_map.partitions
        self._complete = _lists(cloud_map.layout if change is None else change.before, cloud_map.partitions)
        self._all = self._complete if change is None else [*self._complete, *_lists(cloud_map.layout, self._partitions)]

    def by(self, serving: AbstractSet[str]) -> Coverage:
        """What the nodes with these names hold."""
        worst = [
            (min(len(_serving(owners, serving)) for owners in lists), len(next(iter(lists))))
            for lists in self._complete
        ]
        stuck = [
            sum(number for owners, number in lists.items() if not _has_quorum(owners, serving)) for lists in self._all
        ]
        fewest, copies = min(worst)
        return Coverage(copies=copies, fewest=fewest, stuck=max(stuck), partitions=self._partitions)


def coverage(cloud_map: CloudMap, serving: AbstractSet[str]) -> Coverage:
    """What the nodes named `serving` hold, asked once."""
    return Covering(cloud_map).by(serving)


def _serving(owners: Owners, serving: AbstractSet[str]) -> list[str]:
    return [owner.name for owner in owners if not owner.lost and owner.name in serving]


def _has_quorum(owners: Owners, serving: AbstractSet[str]) -> bool:
    """Whether as many serve as a majority of the list, or all that are not lost where these are fewer."""
    left = sum(not owner.lost for owner in owners)
    return len(_serving(owners, serving)) >= quorum(len(owners), left)


def _lists(layout: Layout, partitions: int) -> list[Counter[Owners]]:
    """For every rule that some key or body falls under: the lists of owners, and of how many partitions each is."""
    placement = Placement(layout, partitions)
    rules = (*placement.rules(), *placement.body_rules())
    return [_of_rule(layout, rule, placement, partitions) for rule in rules]


def _of_rule(layout: Layout, rule: Replication, placement: Placement, partitions: int) -> Counter[Owners]:
    among = candidates(layout.members, rule.pools)
    if rule.copies >= len(among):  # everybody owns everything: there is nothing to rank
        return Counter({frozenset(among): partitions})
    return Counter(frozenset(owners) for owners in placement.table(rule))
