"""The cloud map: who is in the layout."""

from __future__ import annotations

from moln_spec.cloudmap import BodyPlace, Change, CloudMap, MapNode, MapPolicy, NodeState


def test_only_members_are_in_the_layout() -> None:
    """A spare owns nothing yet, and a leaving node nothing any more."""
    states: tuple[NodeState, ...] = ("spare", "joining", "active", "leaving")
    nodes = tuple(
        MapNode(name=state, number=number, address=f"{state}:9001", pool="p", state=state)
        for number, state in enumerate(states)
    )
    drawn = CloudMap(cloud="photos", uid="u1", epoch=1, nodes=nodes)
    assert [(member.name, member.number) for member in drawn.layout.members] == [("joining", 1), ("active", 2)]


def test_a_map_without_pools_in_its_policies_does_not_speak_of_them() -> None:
    """Nodes of the release before refuse fields that they do not know: an upgrade rolls over them all the same."""
    plain, bound = MapPolicy(name="plain"), MapPolicy(name="bound", pools=("fast",))
    assert "pools" not in plain.model_dump_json()
    assert "pools" not in plain.model_dump()
    for policy in (plain, bound):
        assert MapPolicy.model_validate_json(policy.model_dump_json()) == policy


def test_a_map_without_places_does_not_speak_of_them() -> None:
    """Nodes of the release before take it; one with places they refuse, in the layout before too."""
    node = MapNode(name="n-0", number=0, address="n-0:9001", pool="p")
    plain = CloudMap(cloud="photos", uid="u1", epoch=1, nodes=(node,))
    apart = plain.model_copy(update={"places": (BodyPlace(name="ARCHIVE", pools=("slow",)),)})
    turned = plain.model_copy(update={"change": Change(before=apart.layout, since=1)})
    assert "places" not in plain.model_dump_json()
    assert apart.layout.places == apart.places
    assert turned.change is not None
    assert turned.change.before.places == apart.places
    for drawn in (plain, apart, turned):
        assert CloudMap.model_validate_json(drawn.model_dump_json()) == drawn
