"""The cloud map: who is in the layout."""

from __future__ import annotations

from moln_spec.cloudmap import CloudMap, MapNode, MapPolicy, NodeState


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
