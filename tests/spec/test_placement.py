"""Properties of placement: stable, fair by weight, spread over zones."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from moln_spec.cloudmap import BodyPlace, Layout, MapNode, Member, Replication
from moln_spec.placement import Placement, owners, partition_of


def a_node(number: int, zone: str = "", weight: float = 1.0) -> MapNode:
    """A node of a pool."""
    return MapNode(name=f"n-{number}", number=number, address=f"n-{number}:9001", pool="p", zone=zone, weight=weight)


nodes_of_zones = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 10)), min_size=1, max_size=9).map(
    lambda given: [a_node(number, zone, weight) for number, (zone, weight) in enumerate(given)]
)


@given(nodes_of_zones, st.integers(0, 511), st.integers(1, 5), st.sampled_from(["zone", "node"]))
def test_owners_are_distinct_and_as_many_as_there_can_be(
    nodes: list[MapNode], partition: int, copies: int, spread: str
) -> None:
    """No node owns a partition twice, and the order in which nodes are listed does not matter."""
    found = owners(nodes, partition, copies, spread)  # type: ignore[arg-type]
    assert len({node.name for node in found}) == len(found) == min(copies, len(nodes))
    assert found == owners(reversed(nodes), partition, copies, spread)  # type: ignore[arg-type]


@given(nodes_of_zones, st.integers(0, 511), st.integers(1, 5))
def test_no_zone_is_given_more_than_its_turn(nodes: list[MapNode], partition: int, copies: int) -> None:
    """A zone has two copies more than another only if the other has no node left."""
    found = Counter(node.zone for node in owners(nodes, partition, copies))
    sizes = Counter(node.zone for node in nodes)
    for zone in sizes:
        for other in sizes:
            assert found[zone] <= found[other] + 1 or found[other] == sizes[other]


@given(nodes_of_zones, st.integers(0, 511), st.integers(1, 5), st.sampled_from(["zone", "node"]), st.data())
def test_a_node_that_comes_takes_at_most_one_place(
    nodes: list[MapNode], partition: int, copies: int, spread: str, data: st.DataObject
) -> None:
    """A new node moves only what it takes itself: at most one owner of a partition changes, and to the new node."""
    gone = data.draw(st.sampled_from(nodes))
    rest = [node for node in nodes if node is not gone]
    before = {node.name for node in owners(rest, partition, copies, spread)}  # type: ignore[arg-type]
    after = {node.name for node in owners(nodes, partition, copies, spread)}  # type: ignore[arg-type]
    assert after - before <= {gone.name}
    assert len(before - after) <= 1


def test_weight_decides_the_share() -> None:
    """A node of weight 3 beside one of weight 1 owns three quarters of many partitions."""
    nodes = [a_node(0, weight=3), a_node(1)]
    shares = Counter(owners(nodes, partition, 1)[0].name for partition in range(8192))
    assert 0.73 < shares["n-0"] / 8192 < 0.77


def of_two_pools() -> tuple[Member, ...]:
    """Three members in one pool, two in another."""
    return tuple(Member(name=f"n-{number}", number=number, pool="hdd" if number > 2 else "ssd") for number in range(5))


def pooled(*replication: Replication) -> Placement:
    """Owners among members of two pools."""
    return Placement(Layout(members=of_two_pools(), replication=replication), 64)


def test_owners_are_of_the_pools_that_a_rule_names() -> None:
    """Of them alone, as many as there are; of all members where the pools have none, so that no key is without."""
    placement = pooled(
        Replication(name="all", pools=("ssd",), copies=2),
        Replication(name="cold", buckets=("cold-*",), pools=("hdd", "tape")),
        Replication(name="none", buckets=("none",), pools=("tape",), copies=9),
        Replication(name="warm", buckets=("cold-1",), prefixes=("w/",), copies=1, pools=("ssd",)),
    )

    def names(bucket: str, key: str) -> set[str]:
        return {member.name for member in placement.of(bucket, key)}

    keys = [f"k{number}" for number in range(200)]
    assert {name for key in keys for name in names("any", key)} == {"n-0", "n-1", "n-2"}
    assert all(len(names("any", key)) == 2 for key in keys)
    assert all(names("cold-1", key) == {"n-3", "n-4"} for key in keys)
    assert names("cold-1", "w/1") < {"n-0", "n-1", "n-2"}
    assert names("none", "k") == {"n-0", "n-1", "n-2", "n-3", "n-4"}


def test_only_rules_that_a_key_may_fall_under_are_named() -> None:
    """A listing needs the owners of these, and of no others."""
    everything = Replication(name="all", pools=("ssd",))
    cold = Replication(name="cold", buckets=("cold-*",), pools=("hdd",))
    again = Replication(name="later", buckets=("cold-*",), copies=1)
    warm = Replication(name="warm", buckets=("cold-1",), prefixes=("w/",))
    everywhere = Replication(name="x", prefixes=("x/",))
    placement = pooled(everything, cold, again, warm, everywhere)
    assert placement.rules("any") == (everything, everywhere)
    assert placement.rules("cold-1") == (cold, warm, everywhere)
    assert placement.rules("cold-2") == (cold, everywhere)
    assert placement.rules() == (everything, cold, again, warm, everywhere)
    assert [rule.name for rule in pooled(cold).rules("any")] == [""]


SLOW, TAPE = BodyPlace(name="ARCHIVE", pools=("hdd",)), BodyPlace(name="@tape", pools=("tape",))
COLD = Replication(name="cold", buckets=("cold-*",), pools=("ssd",), copies=1)


def test_the_body_of_a_key_has_the_copies_of_its_rule_in_the_pools_of_its_place() -> None:
    """Whatever pools hold the record; the body lives with it where the layout has no such place."""
    members = of_two_pools()
    placement = Placement(Layout(members=members, replication=(COLD,), places=(SLOW, TAPE)), 64)
    assert placement.body_rule("cold-1", "k", "ARCHIVE") == COLD.model_copy(update={"pools": ("hdd",)})
    assert placement.body_rule("any", "k", "ARCHIVE").copies == 3
    assert placement.body_rule("cold-1", "k", "STANDARD") == placement.rule("cold-1", "k") == COLD
    [hdd_any, hdd_cold, tape_any, tape_cold] = placement.body_tables()
    assert {member.name for owners in hdd_any for member in owners} == {"n-3", "n-4"}
    assert {len(owners) for owners in hdd_cold} == {1}
    assert {len(owners) for owners in tape_any} == {3}  # of all members, as long as the pool has none
    assert {len(owners) for owners in tape_cold} == {1}
    assert placement.body_tables("cold-1") == (hdd_cold, tape_cold)
    assert pooled(COLD).body_tables() == ()


@given(
    st.sets(st.sampled_from(["ssd", "hdd", "tape"]), min_size=1),
    st.sets(st.sampled_from(["ssd", "hdd", "tape"]), min_size=1),
    st.integers(1, 4),
)
def test_a_place_that_changes_moves_its_own_bodies_alone(before: set[str], after: set[str], copies: int) -> None:
    """No record, and no body of another place; what may stay of its own stays, as nodes of both are ranked alike."""
    rule = Replication(name="all", copies=copies, spread="node")
    members = of_two_pools()

    def placed(pools: set[str]) -> Placement:
        places = (BodyPlace(name="A", pools=tuple(sorted(pools))), SLOW)
        return Placement(Layout(members=members, replication=(rule,), places=places), 64)

    old, new = placed(before), placed(after)
    assert old.tables() == new.tables()
    assert old.table(old.placed(rule, "ARCHIVE")) == new.table(new.placed(rule, "ARCHIVE"))
    pairs = zip(old.table(old.placed(rule, "A")), new.table(new.placed(rule, "A")), strict=True)
    for had, has in pairs:
        if before <= after and before & {"ssd", "hdd"}:
            assert {member.pool for member in set(has) - set(had)} <= after - before
        assert len(has) == min(copies, sum(member.pool in after for member in members) or len(members))


def test_placement_never_changes_between_releases() -> None:
    """Fixed answers: a change here would send every running cloud looking for its data elsewhere."""
    nodes = [a_node(number, zone="abc"[number % 3]) for number in range(6)]
    assert [partition_of("photos", key, 512) for key in ("", "a", "ö/é", "a\nb")] == [193, 19, 235, 470]
    assert [node.name for node in owners(nodes, 7, 4)] == ["n-4", "n-5", "n-3", "n-2"]
