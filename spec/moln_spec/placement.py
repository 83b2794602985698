"""Where a key lives: its partition, and the nodes that own the partition.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005): each node
gets a score for each partition from the two names alone, and the best scores own it. A node that comes or goes
therefore moves only the partitions that it wins or had, one owner each.
"""

from __future__ import annotations

import math
from collections import Counter
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from moln_spec.cloudmap import DEFAULT_COPIES, Replication

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from moln_spec.cloudmap import Layout, MapNode, MapPolicy, Member

Placed = TypeVar("Placed", "MapNode", "Member")
Selecting = TypeVar("Selecting", "Replication", "MapPolicy")
_HASH_RANGE: Final = 2.0**64
_DEFAULT: Final = Replication(name="", copies=DEFAULT_COPIES)


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def partition_of(bucket: str, key: str, partitions: int) -> int:
    """The partition of a key, from 0 to `partitions` - 1."""
    return _hash(f"{bucket}/{key}".encode("utf-8", "surrogatepass")) % partitions


def score(node: MapNode | Member, partition: int) -> float:
    """How much `node` wants `partition`: -weight / ln(u), with u uniform in (0, 1) and fixed for the pair."""
    uniform = (_hash(f"{partition}/{node.name}".encode()) + 0.5) / _HASH_RANGE
    return -node.weight / math.log(uniform) if uniform < 1.0 else math.inf


def owners(
    nodes: Iterable[Placed], partition: int, copies: int, spread: Literal["zone", "node"] = "zone"
) -> tuple[Placed, ...]:
    """The `copies` nodes that own `partition`, best first, or all nodes where there are fewer.

    With `spread="zone"` no zone gets its second copy before every zone has its first, and so on. Nodes whose zone is
    unknown share one zone.
    """
    ranked = sorted(nodes, key=lambda node: (-score(node, partition), node.name))
    if spread == "node":
        return tuple(ranked[:copies])
    taken: Counter[str] = Counter()
    rounds: list[tuple[int, Placed]] = []
    for node in ranked:
        rounds.append((taken[node.zone], node))
        taken[node.zone] += 1
    return tuple(node for _, node in sorted(rounds, key=lambda entry: entry[0])[:copies])


def majority(of: int) -> int:
    """The fewest that are more than half."""
    return of // 2 + 1


def quorum(members: int, left: int) -> int:
    """How many of a list of owners decide: a majority of all, or all that are not lost where these are fewer."""
    return min(majority(members), left)


def candidates(members: Iterable[Member], pools: Collection[str]) -> tuple[Member, ...]:
    """The members that may own what is kept in these pools (none: in any), or all as long as these have none."""
    every = tuple(members)
    return tuple(member for member in every if not pools or member.pool in pools) or every


class Placement:
    """Who owns which key in one layout. Tables of whole partitions are made once for each rule that is met."""

    def __init__(self, layout: Layout, partitions: int) -> None:
        self._members = layout.members
        self._partitions = partitions
        self._rules = tuple(sorted(layout.replication, key=lambda rule: rule.name))
        self._places = {place.name: place for place in layout.places}
        self._tables: dict[tuple[tuple[str, ...], int, str], tuple[tuple[Member, ...], ...]] = {}

    def rules(self, bucket: str | None = None) -> tuple[Replication, ...]:
        """Every rule that some key (of a bucket) may fall under; the first is for keys that no other one names."""
        rest = self.rule(bucket or "", "")
        named = [rule for rule in self._rules if any(rule.prefixes) or (bucket is None and rule.buckets)]
        return (rest, *(rule for rule in named if rule != rest and (bucket is None or _names(rule, bucket))))

    def tables(self, bucket: str | None = None) -> tuple[tuple[tuple[Member, ...], ...], ...]:
        """The owners of each partition, for every rule that some key (of a bucket) may fall under."""
        return tuple(self.table(rule) for rule in self.rules(bucket))

    def of(self, bucket: str, key: str) -> tuple[Member, ...]:
        """The owners of a key, best first."""
        return self.table(self.rule(bucket, key))[partition_of(bucket, key, self._partitions)]

    def rule(self, bucket: str, key: str) -> Replication:
        """How the key is replicated: by the most specific rule."""
        return most_specific(self._rules, bucket, key) or _DEFAULT

    def body_rule(self, bucket: str, key: str, place: str) -> Replication:
        """How the body of a key is replicated in a place: by the place's own rule or the key's, in the place's pools.

        Where the layout has no such place the body lives with the record.
        """
        there = self._places.get(place)
        own = None if there is None else most_specific(there.replication, bucket, key)
        return self.placed(own or self.rule(bucket, key), place)

    def placed(self, rule: Replication, place: str) -> Replication:
        """How bodies that are replicated by a rule are replicated in a place; its own rules may name other pools."""
        there = self._places.get(place)
        if there is None or (rule.pools and rule in there.replication):
            return rule
        return rule.model_copy(update={"pools": there.pools})

    def body_rules(self, bucket: str | None = None) -> tuple[Replication, ...]:
        """Every rule that some body (of a bucket) in some place may fall under; none where there are no places."""
        rules = self.rules(bucket)
        return tuple(
            self.placed(rule, name) for name, place in self._places.items() for rule in (*rules, *place.replication)
        )

    def body_tables(self, bucket: str | None = None) -> tuple[tuple[tuple[Member, ...], ...], ...]:
        """The owners of each partition's bodies, for every rule (of a bucket) in every place."""
        return tuple(self.table(rule) for rule in self.body_rules(bucket))

    def table(self, rule: Replication) -> tuple[tuple[Member, ...], ...]:
        """The owners of each partition by a rule, best first."""
        how = (rule.pools, rule.copies, rule.spread)
        found = self._tables.get(how)
        if found is None:
            among = candidates(self._members, rule.pools)
            found = tuple(owners(among, partition, rule.copies, rule.spread) for partition in range(self._partitions))
            self._tables[how] = found
        return found


def most_specific(rules: Iterable[Selecting], bucket: str, key: str) -> Selecting | None:
    """The rule that a key falls under: the longest prefix, then one that names the bucket, then the first of them."""
    best, rank = None, (-1, False)
    for rule in rules:
        if not _names(rule, bucket):
            continue
        prefixes = [len(prefix) for prefix in rule.prefixes if key.startswith(prefix)]
        if rule.prefixes and not prefixes:
            continue
        found = (max(prefixes, default=0), bool(rule.buckets))
        if found > rank:
            best, rank = rule, found
    return best


def _names(rule: Replication | MapPolicy, bucket: str) -> bool:
    """Whether a rule is for keys of the bucket: it names none, or one of its names or globs is this one's."""
    return not rule.buckets or any(fnmatchcase(bucket, pattern) for pattern in rule.buckets)
