"""A change that somebody thinks of becomes the map that names it."""

from __future__ import annotations

import pytest

from moln.errors import CliError
from moln.watching.moving import Sum, Totals
from moln.watching.wish import wished
from moln_spec.classes import AssignmentRule, StorageClass
from moln_spec.cloudmap import CloudMap, MapNode, MapPolicy
from moln_spec.membership import Report
from moln_spec.room import Volume

GIB = 1024**3
MAP = CloudMap(
    cloud="photos",
    uid="u",
    epoch=7,
    next_number=3,
    nodes=tuple(
        MapNode(name=f"photos-{n}", number=n, address=f"h{n}:1", pool="photos", zone="ab"[n % 2]) for n in range(3)
    ),
    policies=(MapPolicy(name="all", copies=2),),
)
REPORTS = {node.name: Report(7, volume=Volume(100 * GIB, GIB, 99 * GIB)) for node in MAP.nodes}


def members(cloud_map: CloudMap) -> dict[str, str]:
    """The members of the layout and their zones."""
    return {member.name: member.zone for member in cloud_map.layout.members}


def test_nodes_that_come_are_named_and_placed_as_the_cloud_would() -> None:
    """The next ordinals, each in the zone that has the fewest."""
    step = wished(MAP, {"photos": 5}, (), {}, REPORTS)
    assert members(step.map) == {"photos-0": "a", "photos-1": "b", "photos-2": "a", "photos-3": "b", "photos-4": "a"}
    assert step.map.change is not None
    assert step.map.change.before == MAP.layout


def test_fewer_nodes_are_the_first_ones() -> None:
    """As a StatefulSet has it; --without takes any."""
    assert set(members(wished(MAP, {"photos": 2}, (), {}, REPORTS).map)) == {"photos-0", "photos-1"}
    assert set(members(wished(MAP, {}, ("photos-0",), {}, REPORTS).map)) == {"photos-1", "photos-2"}


def test_copies_of_a_policy() -> None:
    """The members stay, and a policy has more copies."""
    step = wished(MAP, {}, (), {"all": 3}, REPORTS)
    assert members(step.map) == members(MAP)
    assert [rule.copies for rule in step.map.layout.replication] == [3]
    assert step.map.change is not None


def test_bodies_are_thought_of_where_classes_and_rules_bind_them() -> None:
    """Also by a map of one node, where nothing is bound yet: the second node would bring it into effect."""
    bound = {
        "storage_classes": (StorageClass(name="ARCHIVE", default=True, pools=("photos",)),),
        "assignment_rules": (AssignmentRule(pool="photos"),),
    }
    alone = MAP.model_copy(update={"nodes": MAP.nodes[:1], **bound})
    grown = wished(alone, {"photos": 2}, (), {}, REPORTS)
    assert [place.name for place in grown.map.places] == ["ARCHIVE", "@photos"]
    settled = MAP.model_copy(update={"places": grown.map.places, **bound})
    assert wished(settled, {}, (), {}, REPORTS).map is settled
    assert wished(settled, {"photos": 5}, (), {}, REPORTS).map.places == settled.places


def test_what_the_cloud_would_refuse_is_refused() -> None:
    """Too few nodes for the copies; no room for what the leaving node holds."""
    few = wished(MAP, {"photos": 1}, (), {}, REPORTS)
    assert few.refusal is not None
    assert few.refusal.reason == "TooFewNodes"
    full = REPORTS | {"photos-0": Report(7, volume=Volume(100 * GIB, 98 * GIB, 2 * GIB))}
    narrow = wished(MAP, {"photos": 2}, (), {}, full)
    assert narrow.refusal is not None
    assert narrow.refusal.reason == "NoRoom"


def test_who_comes_while_another_leaves_has_room() -> None:
    """The volume of a node that is not there yet refuses nothing."""
    assert wished(MAP, {"photos": 5}, ("photos-0",), {}, REPORTS).refusal is None


@pytest.mark.parametrize(("pools", "without"), [({"slow": 3}, ()), ({}, ("photos-9",)), ({"photos": 0}, ())])
def test_what_there_is_not_is_told(pools: dict[str, int], without: tuple[str, ...]) -> None:
    """A pool, a node, and a cloud of none."""
    with pytest.raises(CliError, match=r"there is no|no node would be left"):
        wished(MAP, pools, without, {}, REPORTS)


def test_room_is_what_is_free_without_the_reserve() -> None:
    """Exactly as much as fits is no lack, a byte more is; nobody knows of a new node."""
    totals = Totals()
    volumes = {"a": Volume(1000, 500, 500)}
    totals.gets["a"] = Sum(1, 480)
    totals.gets["new"] = Sum(1, 10**12)
    assert totals.lacks(volumes, 2.0) == {}
    totals.gets["a"] = Sum(1, 481)
    assert totals.lacks(volumes, 2.0) == {"a": 1}
