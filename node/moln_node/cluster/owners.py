"""Owners: which nodes of the map hold which register. The one place that answers it. Pure.

Records and bytes of a key live together on the owners of its partition; a bucket's register is held by every node.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from moln_node.cluster import uploadkeys
from moln_node.store.registers import Register, Space
from moln_spec import placement

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from moln_spec.cloudmap import CloudMap, MapNode


class Owners:
    """The owners of everything at one epoch."""

    def __init__(self, cloud_map: CloudMap) -> None:
        self.epoch = cloud_map.epoch
        self.nodes: dict[str, MapNode] = {node.name: node for node in cloud_map.nodes}
        self.copies = cloud_map.copies
        self.everyone = tuple(sorted(self.nodes))
        self._partitions = cloud_map.partitions
        self._of = tuple(
            tuple(node.name for node in placement.owners(cloud_map.nodes, partition, self.copies))
            for partition in range(cloud_map.partitions)
        )
        self._covered: dict[frozenset[str], bool] = {}
        self.of_key = lru_cache(maxsize=4096)(self._of_key)

    def _of_key(self, bucket: str, key: str) -> tuple[str, ...]:
        """The owners of an object's key, best first."""
        return self._of[placement.partition_of(bucket, key, self._partitions)]

    def of(self, register: Register) -> tuple[str, ...]:
        """The owners of a register."""
        if register.space == Space.BUCKETS:
            return self.everyone
        key = uploadkeys.object_key(register.key) if register.space == Space.UPLOADS else register.key
        return self.of_key(register.bucket, key)

    def are_covered_by(self, answered: AbstractSet[str]) -> bool:
        """Whether these nodes are a majority of the owners of every partition."""
        known = frozenset(answered)
        if known not in self._covered:
            self._covered[known] = all(
                sum(owner in known for owner in owners) >= majority(len(owners)) for owners in set(self._of)
            )
        return self._covered[known]


def majority(of: int) -> int:
    """The fewest that are more than half."""
    return of // 2 + 1
