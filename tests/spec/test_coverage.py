"""What the nodes that serve hold of the data, case by case."""

from __future__ import annotations

import pytest

from moln_spec.cloudmap import BodyPlace, Change, CloudMap, Layout, MapNode, MapPolicy, Member
from moln_spec.coverage import coverage

NAMES = ("n0", "n1", "n2", "n3", "n4")


def a_map(nodes: int, *policies: MapPolicy, change: Change | None = None) -> CloudMap:
    """A map of so many nodes."""
    members = tuple(
        MapNode(name=name, number=number, address=f"{name}:9001", pool="p") for number, name in enumerate(NAMES[:nodes])
    )
    return CloudMap(cloud="c", uid="u", epoch=1, partitions=256, nodes=members, policies=policies, change=change)


@pytest.mark.parametrize(
    ("nodes", "serving", "copies", "fewest", "stuck", "at_risk"),
    [
        (1, "n0", 1, 1, 0, False),
        (1, "", 1, 0, 256, True),
        (2, "n0", 2, 1, 256, True),
        (3, "n0 n1 n2", 3, 3, 0, False),
        (3, "n0 n1", 3, 2, 0, False),
        (3, "n0", 3, 1, 256, True),
        (3, "", 3, 0, 256, True),
        (5, "n0 n1 n2 n3", 3, 2, 0, False),
        (3, "n0 n1 n2 stranger", 3, 3, 0, False),
    ],
)
def test_the_worst_off_key_decides(
    nodes: int, serving: str, copies: int, fewest: int, stuck: int, *, at_risk: bool
) -> None:
    """With one node gone of a majority's three, nothing is at risk; with two, one more loss would cost data."""
    found = coverage(a_map(nodes), set(serving.split()))
    assert (found.copies, found.fewest, found.stuck, found.at_risk) == (copies, fewest, stuck, at_risk)


def test_with_more_nodes_than_copies_only_some_partitions_are_stuck() -> None:
    """Two of five nodes gone: the partitions of which they own two can't be used, the others go on."""
    found = coverage(a_map(5), {"n0", "n1", "n2"})
    assert found.at_risk
    assert 0 < found.stuck < found.partitions


def test_the_rule_with_fewest_copies_counts() -> None:
    """One bucket kept in one copy is at risk as soon as a node is gone, whatever the others have."""
    once = MapPolicy(name="once", buckets=("scratch",), copies=1)
    found = coverage(a_map(3, once), {"n0", "n1"})
    assert (found.copies, found.fewest) == (1, 0)
    assert coverage(a_map(3, MapPolicy(name="all", copies=2)), set(NAMES)).copies == 2


def test_only_the_pools_of_a_rule_have_its_copies() -> None:
    """Nodes of the other pool are no copies, and a rule that no key falls under does not count."""
    nodes = tuple(
        MapNode(name=name, number=number, address=name, pool="hdd" if number > 2 else "ssd")
        for number, name in enumerate(NAMES)
    )
    policies = (MapPolicy(name="all", pools=("ssd",)), MapPolicy(name="cold", buckets=("cold",), pools=("hdd",)))
    both = a_map(5).model_copy(update={"nodes": nodes, "policies": policies})
    assert coverage(both, {"n0", "n1", "n2", "n3"}).fewest == 1
    assert coverage(both, {"n0", "n1", "n2"}).fewest == 0
    warm = both.model_copy(update={"policies": policies[:1]})
    found = coverage(warm, {"n0", "n1", "n2"})
    assert (found.fewest, found.copies, found.stuck) == (3, 3, 0)


def test_only_the_pools_of_a_place_have_its_bodies() -> None:
    """A record without its bytes is no object: the pool's nodes count, however many owners the records have."""
    nodes = tuple(
        MapNode(name=name, number=number, address=name, pool="hdd" if number > 2 else "ssd")
        for number, name in enumerate(NAMES)
    )
    apart = a_map(5).model_copy(update={"nodes": nodes, "places": (BodyPlace(name="ARCHIVE", pools=("hdd",)),)})
    found = coverage(apart, {"n0", "n1", "n2", "n3"})
    assert (found.fewest, found.copies, found.stuck) == (1, 2, apart.partitions)
    assert coverage(apart, {"n0", "n1", "n2"}).fewest == 0


def test_during_a_change_the_layout_before_counts() -> None:
    """New nodes are no copies yet: what they own of the layout to come is not complete."""
    before = Layout(members=(Member(name="n0", number=0),))
    growing = a_map(3, change=Change(before=before, since=1))
    assert coverage(growing, {"n1", "n2"}).fewest == 0
    alone = coverage(growing, {"n0"})
    assert alone.fewest == 1
    assert alone.stuck == alone.partitions, "writes need a majority of the owners to come, too"
    assert not coverage(growing, {"n0", "n1"}).stuck


def test_a_member_that_is_lost_is_missing_from_copies_and_from_quorums() -> None:
    """Its copies are gone; those that are left decide without it."""
    members = tuple(Member(name=name, number=number, lost=number > 0) for number, name in enumerate(NAMES[:3]))
    replacing = a_map(3, change=Change(before=Layout(members=members), since=1))
    found = coverage(replacing, {"n0", "n1", "n2"})
    assert (found.fewest, found.stuck, found.at_risk) == (1, 0, True)
    assert coverage(replacing, {"n1", "n2"}).stuck == found.partitions
