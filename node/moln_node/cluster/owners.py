"""Owners: which nodes of the map hold which register. The one place that answers it. Pure.

Records of a key live on the owners of its partition, and so do its bytes, unless they are apart: then these, and the
parts of uploads, live in a place, on the owners of the partition among its pools. A bucket's register is on every node.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from moln_node.cluster import bodykeys, uploadkeys
from moln_node.cluster.electorate import Electorate, Owning
from moln_node.store.registers import Register, Space
from moln_spec import placement
from moln_spec.cloudmap import MapPolicy
from moln_spec.placement import Placement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from moln_spec.cloudmap import CloudMap, Layout, Member, Replication

_MOST_COVERS: Final = 4096
_MAJORITIES: Final = MapPolicy(name="")


class Owners:
    """The owners of everything at one epoch.

    Attributes:
        epoch: of the map that says so.
        everyone: the names of all nodes of the map, also of those that own nothing.
        bucket: the electorate of every bucket's register: all members.
        copying: a change is under way, in its first stage.
    """

    def __init__(self, cloud_map: CloudMap) -> None:
        self.epoch = cloud_map.epoch
        self.everyone = tuple(sorted(node.name for node in cloud_map.nodes))
        change = cloud_map.change
        self._confirming = change is not None and change.stage == "confirming"
        self.copying = change is not None and not self._confirming
        layout = cloud_map.layout
        self._now = Placement(layout, cloud_map.partitions)
        self._before = None if change is None else Placement(change.before, cloud_map.partitions)
        self.bucket = Electorate.of(
            _all(layout), None if change is None else _all(change.before), confirming=self._confirming
        )
        self._partitions = cloud_map.partitions
        self._policies = tuple(policy for policy in cloud_map.policies if not policy.storage_classes)
        self._class_policies = tuple(policy for policy in cloud_map.policies if policy.storage_classes)
        self._tables: dict[tuple[Replication, Replication | None], tuple[Electorate, ...]] = {}
        self._covered: dict[tuple[str | None, frozenset[str]], bool] = {}
        self.of_key = lru_cache(maxsize=4096)(self._of_key)
        self._of_body = lru_cache(maxsize=4096)(self._find_body)
        self._policy_of = lru_cache(maxsize=4096)(self._find_policy)
        self.share = lru_cache(maxsize=512)(self._share)

    def _of_key(self, bucket: str, key: str) -> Electorate:
        """The electorate of an object's key."""
        rules = (self._now.rule(bucket, key), None if self._before is None else self._before.rule(bucket, key))
        return self._table(*rules)[placement.partition_of(bucket, key, self._partitions)]

    def _find_body(self, bucket: str, key: str, place: str) -> Electorate:
        """The electorate of what is in a place of an object's key."""
        before = None if self._before is None else self._before.body_rule(bucket, key, place)
        table = self._table(self._now.body_rule(bucket, key, place), before)
        return table[placement.partition_of(bucket, key, self._partitions)]

    def _table(self, now: Replication, before: Replication | None) -> tuple[Electorate, ...]:
        """The electorate of each partition."""
        found = self._tables.get((now, before))
        if found is None:
            later = [_owning(owners) for owners in self._now.table(now)]
            if self._before is None or before is None:
                found = tuple(Electorate.of(owning) for owning in later)
            else:
                earlier = [_owning(owners) for owners in self._before.table(before)]
                pairs = zip(later, earlier, strict=True)
                found = tuple(Electorate.of(*pair, confirming=self._confirming) for pair in pairs)
            self._tables[now, before] = found
        return found

    def of(self, register: Register) -> Electorate:
        """The electorate of a register."""
        if register.space == Space.BUCKETS:
            return self.bucket
        key, place = _object_key(register), _place(register)
        return self._of_body(register.bucket, key, place) if place else self.of_key(register.bucket, key)

    def policy(self, register: Register) -> MapPolicy:
        """How many owners a write or a read of a register waits for.

        Of buckets always a majority; of uploads, their parts and bodies at least that, since records rest on them.
        """
        if register.space == Space.BUCKETS or not (self._policies or self._class_policies):
            return _MAJORITIES
        found = self._policy_of(register.bucket, _object_key(register), _place(register))
        return found if register.space == Space.OBJECTS or found.write != "one" else _MAJORITIES

    def _find_policy(self, bucket: str, key: str, place: str) -> MapPolicy:
        """Of a body the one that selects its class, if there is one for the key."""
        own = [policy for policy in self._class_policies if place in policy.storage_classes]
        found = placement.most_specific(own, bucket, key) or placement.most_specific(self._policies, bucket, key)
        return found or _MAJORITIES

    def copies(self, bucket: str) -> int:
        """How many owners the keys of a bucket have that no policy's prefix names."""
        return len(self._now.table(self._now.rule(bucket, ""))[0])

    def _share(self, bucket: str) -> float:
        """How much of a bucket's keys one node has at most, about: fewer nodes may hold it than the cloud has."""
        shares = []
        for table in self._now.tables(bucket):
            holders = {member.name for owners in table for member in owners}
            shares.append(len(table[0]) / len(holders))
        return max(shares)

    def moves(self, register: Register) -> bool:
        """Whether the change under way gives the register other owners."""
        electorate = self.of(register)
        return len(electorate.writing) > 1

    def are_covered_by(self, answered: AbstractSet[str], bucket: str | None = None) -> bool:
        """Whether what these nodes hold together is all that is settled, of a bucket, or of all."""
        known = (bucket, frozenset(answered))
        if known not in self._covered:
            read = self._now if self._before is None else self._before
            tables = read.tables(bucket)
            if self._confirming:
                tables += self._now.tables(bucket)
            lists = {owners for table in tables for owners in table}
            if len(self._covered) >= _MOST_COVERS:
                self._covered.clear()
            self._covered[known] = all(_owning(owners).quorum.is_in(known[1]) for owners in lists)
        return self._covered[known]


def _object_key(register: Register) -> str:
    if register.space == Space.UPLOADS:
        return uploadkeys.object_key(register.key)
    return bodykeys.object_key(register.key) if register.space == Space.BODIES else register.key


def _place(register: Register) -> str:
    """The place of what is apart from its record; an upload itself is with the records."""
    if register.space == Space.BODIES:
        return bodykeys.place_of(bodykeys.body_of(register.key))
    if register.space == Space.UPLOADS and not uploadkeys.is_upload(register.key):
        return bodykeys.place_of(uploadkeys.upload_id(register.key))
    return ""


def _owning(members: Iterable[Member]) -> Owning:
    return Owning.among((member.name, member.lost) for member in members)


def _all(layout: Layout) -> Owning:
    return _owning(sorted(layout.members, key=lambda member: member.name))
