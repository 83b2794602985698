"""The cloud map: who is in the layout."""

from __future__ import annotations

from moln_spec.cloudmap import CloudMap, MapNode, NodeState


def test_only_members_are_in_the_layout() -> None:
    """A spare owns nothing yet, and a leaving node nothing any more."""
    states: tuple[NodeState, ...] = ("spare", "joining", "active", "leaving")
    nodes = tuple(
        MapNode(name=state, number=number, address=f"{state}:9001", pool="p", state=state)
        for number, state in enumerate(states)
    )
    drawn = CloudMap(cloud="photos", uid="u1", epoch=1, nodes=nodes)
    assert [(member.name, member.number) for member in drawn.layout.members] == [("joining", 1), ("active", 2)]
