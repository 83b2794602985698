"""Each case of the membership decision, by tables: what follows, what is waited for, what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from moln_spec.cloudmap import BodyPlace, Change, CloudMap, MapNode, MapPolicy, NodeState, Replication
from moln_spec.membership import Report, Seat, Wanted, next_step
from moln_spec.room import Volume

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOMY = Volume(capacity_bytes=1000, used_bytes=100, free_bytes=900)
FIVE = ("n-0", "n-1", "n-2", "n-3", "n-4")
THREE = FIVE[:3]


def seats(names: Iterable[str], **more: Any) -> tuple[Seat, ...]:
    """A seat for each name."""
    return tuple(Seat(name, f"{name}:9001", "n", **more) for name in names)


def a_map(names: Iterable[str] = THREE, states: dict[str, NodeState] | None = None, **more: Any) -> CloudMap:
    """A map at epoch 7 whose nodes are active, but for those of `states`."""
    found = states or {}
    nodes = tuple(
        MapNode(name=name, number=number, address=f"{name}:9001", pool="n", state=found.get(name, "active"))
        for number, name in enumerate(names)
    )
    return CloudMap(**{"cloud": "c", "uid": "u", "epoch": 7, "nodes": nodes, "next_number": len(nodes), **more})


def a_change(names: Iterable[str] = THREE, **more: Any) -> Change:
    """A change that began at epoch 7, from a layout of these."""
    return Change(before=a_map(names).layout, since=7, **more)


def reports(names: Iterable[str], **more: Any) -> dict[str, Report]:
    """Each says that it is through, and holds nothing of others."""
    return {name: replace(Report(7, 7, 0, 5, ROOMY), **more) for name in names}


def states(drawn: CloudMap) -> dict[str, str]:
    """Each node's state."""
    return {node.name: node.state for node in drawn.nodes}


SPARES: dict[str, NodeState] = {"n-3": "spare", "n-4": "spare"}
JOINING: dict[str, NodeState] = {"n-3": "joining", "n-4": "joining"}
LEAVING: dict[str, NodeState] = {"n-3": "leaving", "n-4": "leaving"}


def test_nothing_to_do_is_the_same_map() -> None:
    """A settled cloud makes no epoch."""
    last = a_map()
    step = next_step(last, Wanted(seats(THREE)), reports(THREE))
    assert step.map is last
    assert (step.waits, step.refusal) == ((), None)


def test_who_is_wanted_is_a_spare_first_under_a_new_number() -> None:
    """Its pod starts with a map that names it."""
    step = next_step(a_map(next_number=9), Wanted(seats(FIVE)), reports(THREE))
    assert states(step.map) == {**dict.fromkeys(THREE, "active"), **SPARES}
    assert [node.number for node in step.map.nodes] == [0, 1, 2, 9, 10]
    assert (step.map.epoch, step.map.next_number, step.map.change) == (8, 11, None)


def test_spares_join_together_once_all_of_them_obey() -> None:
    """One that answers waits for the other, unless that one is not to be expected."""
    last = a_map(FIVE, SPARES)
    said = reports(THREE) | reports(["n-3"], registers=0)
    waiting = next_step(last, Wanted(seats(FIVE)), said)
    assert (waiting.map, waiting.waits) == (last, ("starting: n-4",))
    old = said | reports(["n-4"], registers=0, epoch=6)
    assert next_step(last, Wanted(seats(FIVE)), old).waits == ("starting: n-4",)
    without = Wanted((*seats(FIVE[:4]), *seats(["n-4"], awaited=False)))
    begun = next_step(last, without, said).map
    assert (states(begun)["n-3"], states(begun)["n-4"]) == ("joining", "spare")
    assert begun.change == Change(before=last.layout, since=8)


def test_a_spare_with_rows_of_an_earlier_life_is_not_taken_in() -> None:
    """During a change it can't know that it has none but by having nothing."""
    last = a_map(FIVE, SPARES)
    said = reports(THREE) | reports(["n-3", "n-4"], strays=5)
    assert "clears what its disk holds" in next_step(last, Wanted(seats(FIVE)), said).waits[0]
    during = a_map(FIVE, SPARES, change=a_change())
    said = reports(THREE, passed=None) | reports(["n-3", "n-4"], strays=0)
    assert states(next_step(during, Wanted(seats(FIVE)), said).map)["n-3"] == "spare"
    said |= reports(["n-3", "n-4"], registers=0, strays=None)
    assert states(next_step(during, Wanted(seats(FIVE)), said).map)["n-3"] == "joining"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"n-1": None}, "n-1 can't be reached, and it may hold what others own"),
        ({"n-1": {"strays": 3}}, "n-1 holds 3 keys that others own"),
        ({"n-1": {"strays": None}}, "n-1 has yet to say whether"),
        ({"n-1": {"epoch": 6}}, "n-1 has yet to say whether"),
    ],
)
def test_no_change_begins_while_something_is_left_of_the_last(said: dict[str, Any], sentence: str) -> None:
    """Strays that become owned again would come back as if they were news."""
    last = a_map(FIVE, SPARES)
    found = reports(FIVE, registers=0)
    for name, more in said.items():
        found |= reports([name], **more) if more is not None else {}
        if more is None:
            del found[name]
    step = next_step(last, Wanted(seats(FIVE)), found)
    assert step.map is last
    assert sentence in step.waits[0]


def test_a_change_goes_stage_by_stage_when_everybody_is_through() -> None:
    """copying, confirming, over; those who joined are active then."""
    last = a_map(FIVE, JOINING, change=a_change())
    confirming = next_step(last, Wanted(seats(FIVE)), reports(FIVE)).map
    assert confirming.change == Change(before=a_map().layout, stage="confirming", since=8)
    over = next_step(confirming, Wanted(seats(FIVE)), reports(FIVE, epoch=8, passed=8)).map
    assert over.change is None
    assert set(states(over).values()) == {"active"}


@pytest.mark.parametrize("stage", ["copying", "confirming"])
@pytest.mark.parametrize("late", ["n-1", "n-4"])
@pytest.mark.parametrize(
    ("more", "sentence"),
    [(None, "can't be reached"), ({"epoch": 6}, "epoch 7 of the map has not reached"), ({"passed": 5}, "c")],
)
def test_a_stage_waits_for_every_member(stage: str, late: str, more: dict[str, Any] | None, sentence: str) -> None:
    """Of the layout before and of the one after."""
    last = a_map(FIVE, JOINING, change=a_change(stage=stage))
    found = {name: report for name, report in reports(FIVE).items() if name != late}
    found |= reports([late], **more) if more is not None else {}
    step = next_step(last, Wanted(seats(FIVE)), found)
    assert step.map is last
    assert late in step.waits[0]
    assert sentence in step.waits[0]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"no_room": ("n-4",)}, "there is no room on n-4"),
        ({"damage": 2}, "objects, parts or versions are damaged (2 on n-0), and"),
    ],
)
def test_a_change_that_does_not_get_on_says_why(more: dict[str, Any], sentence: str) -> None:
    """Where waiting does not help it says what does; a node that is through has nothing to say."""
    last = a_map(FIVE, JOINING, change=a_change())
    stuck = {**reports(FIVE), **reports(["n-0"], passed=5, **more)}
    waits = next_step(last, Wanted(seats(FIVE)), stuck).waits
    assert waits[0] == "n-0 still copying"
    assert sentence in waits[1]
    assert not next_step(last, Wanted(seats(FIVE)), reports(FIVE)).waits


def test_who_leaves_goes_one_at_a_time_and_only_when_empty() -> None:
    """The highest first, as pods go; one in the middle waits for those behind it."""
    last = a_map(FIVE)
    begun = next_step(last, Wanted(seats(THREE)), reports(FIVE)).map
    assert (states(begun), begun.change) == (
        {**dict.fromkeys(THREE, "active"), **LEAVING},
        Change(before=last.layout, since=8),
    )
    left = a_map(FIVE, LEAVING)
    holding = reports(FIVE) | reports(["n-4"], strays=2)
    step = next_step(left, Wanted(seats(THREE)), holding)
    assert step.map is left
    assert step.waits == ("n-4 holds 2 keys that others own, until these are seen to have them",)
    first = next_step(left, Wanted(seats(THREE)), reports(FIVE)).map
    assert [node.name for node in first.nodes] == list(FIVE[:4])
    second = next_step(first, Wanted(seats(THREE)), reports(FIVE, epoch=8)).map
    assert [node.name for node in second.nodes] == list(THREE)
    assert second.next_number == 5


@pytest.mark.parametrize("stage", ["copying", "confirming"])
def test_a_drain_can_be_taken_back_at_any_moment(stage: str) -> None:
    """The layout before is complete until it is dropped; the change leads back to it, and is confirmed as any other."""
    last = a_map(FIVE, LEAVING, change=a_change(FIVE, stage=stage))
    back = next_step(last, Wanted(seats(FIVE)), {}).map
    assert set(states(back).values()) == {"active"}
    assert back.change == Change(before=a_map(FIVE).layout, since=8)


def test_a_join_can_be_taken_back() -> None:
    """Who had begun to join has to be emptied before it goes, or comes again."""
    last = a_map(FIVE, JOINING, change=a_change())
    back = next_step(last, Wanted(seats(THREE)), reports(FIVE, passed=None)).map
    assert states(back) == {**dict.fromkeys(THREE, "active"), **LEAVING}
    again = next_step(back, Wanted(seats(FIVE)), reports(FIVE, epoch=8)).map
    assert states(again)["n-4"] == "leaving"


def test_who_is_wanted_again_after_it_left_comes_under_a_new_number() -> None:
    """Once it is empty, as a spare."""
    step = next_step(a_map(FIVE, LEAVING), Wanted(seats(FIVE)), reports(FIVE))
    (fifth,) = [node for node in step.map.nodes if node.name == "n-4"]
    assert (fifth.state, fifth.number) == ("spare", 5)


@pytest.mark.parametrize(
    ("copies", "wanted", "refused"),
    [(None, 2, True), (None, 3, False), (2, 2, False), (2, 1, True), (5, 4, True), (9, 4, True)],
)
def test_a_drain_leaves_as_many_nodes_as_there_are_copies(copies: int | None, wanted: int, refused: bool) -> None:
    """Without a policy there are three; never more than there are nodes."""
    policies = (MapPolicy(name="p", copies=copies),) if copies else ()
    last = a_map(FIVE, policies=policies)
    step = next_step(last, Wanted(seats(FIVE[:wanted]), policies), reports(FIVE))
    assert (step.refusal is not None and step.refusal.reason == "TooFewNodes") is refused
    assert (step.map is last) is refused


def two_pools(last: CloudMap) -> CloudMap:
    """The same map, with n-3 and n-4 in a pool of their own."""
    nodes = [node.model_copy(update={"pool": "slow" if node.name in SPARES else "n"}) for node in last.nodes]
    return last.model_copy(update={"nodes": tuple(nodes)})


@pytest.mark.parametrize(
    ("stay", "copies", "refused"),
    [(("n-3",), 2, True), (("n-3",), 1, False), (("n-3", "n-4"), 5, False), ((), 1, True)],
)
def test_a_pool_keeps_as_many_nodes_as_a_policy_has_copies_in_it(
    stay: tuple[str, ...], copies: int, *, refused: bool
) -> None:
    """However many nodes there are elsewhere."""
    policies = (MapPolicy(name="cold", buckets=("cold",), pools=("slow",), copies=copies),)
    last = two_pools(a_map(FIVE, policies=policies))
    wanted = (*seats(THREE), *(replace(seat, pool="slow") for seat in seats(stay)))
    step = next_step(last, Wanted(wanted, policies), reports(FIVE))
    assert (step.refusal is not None) is refused
    if step.refusal is not None:
        assert "ReplicationPolicy cold keeps in slow" in step.refusal.message
        assert step.map is last


def test_everything_in_one_pool_lets_the_other_be_emptied() -> None:
    """What no policy keeps in a pool needs none of its nodes."""
    policies = (MapPolicy(name="all", pools=("n",)),)
    step = next_step(two_pools(a_map(FIVE, policies=policies)), Wanted(seats(THREE), policies), reports(FIVE))
    assert (step.refusal, states(step.map)["n-3"]) == (None, "leaving")


def test_room_is_looked_for_in_the_pools_that_get_the_data() -> None:
    """What leaves a pool goes to its other nodes, and only their room counts."""
    policies = (MapPolicy(name="all", pools=("n",)), MapPolicy(name="c", buckets=("c",), pools=("slow",), copies=1))
    last = two_pools(a_map(FIVE, policies=policies))
    wanted = (*seats(THREE), *(replace(seat, pool="slow") for seat in seats(["n-3"])))
    full = reports(FIVE) | reports(["n-3"], volume=Volume(1000, 900, 100))
    step = next_step(last, Wanted(wanted, policies), full)
    assert step.refusal is not None
    assert "n-3 lacks 21; raise the volume.size" in step.refusal.message


def test_a_policys_pools_are_a_change_like_any_other() -> None:
    """They decide who owns what: before and after are both named, and nothing moves by surprise."""
    policies = (MapPolicy(name="cold", buckets=("cold",), pools=("slow",)),)
    last = two_pools(a_map(FIVE))
    wanted = (*seats(THREE), *(replace(seat, pool="slow") for seat in seats(["n-3", "n-4"])))
    step = next_step(last, Wanted(wanted, policies), reports(FIVE))
    assert step.map.change == Change(before=last.layout, since=8)
    assert step.map.layout.replication[0].pools == ("slow",)


def test_the_last_copy_in_a_pool_is_never_given_up() -> None:
    """Nodes elsewhere have nothing of it."""
    policies = (MapPolicy(name="cold", buckets=("cold",), pools=("slow",)),)
    last = two_pools(a_map(FIVE, policies=policies))
    wanted = (*seats(THREE), *(replace(seat, pool="slow") for seat in seats(["n-3", "n-4"])))
    both = next_step(last, Wanted(wanted, policies, frozenset(SPARES)), reports(THREE))
    assert (both.map.layout, both.map.change) == (last.layout, None)
    assert "what ReplicationPolicy cold keeps there" in both.waits[0]
    one = next_step(last, Wanted(wanted, policies, frozenset({"n-4"})), reports(FIVE[:4]))
    assert one.map.change is not None


ARCHIVE = (BodyPlace(name="ARCHIVE", pools=("slow",)),)
PINNED = (BodyPlace(name="@slow", pools=("slow",)),)
TWO_POOLS = (*seats(THREE), *(replace(seat, pool="slow") for seat in seats(SPARES)))


@pytest.mark.parametrize(("before", "after"), [((), ARCHIVE), (ARCHIVE, ()), (ARCHIVE, PINNED)])
def test_where_bodies_live_is_a_change_like_any_other(
    before: tuple[BodyPlace, ...], after: tuple[BodyPlace, ...]
) -> None:
    """A class that gains, changes or loses pools: both places are named until its bytes have moved."""
    last = two_pools(a_map(FIVE, places=before))
    begun = next_step(last, Wanted(TWO_POOLS, places=after), reports(FIVE)).map
    assert begun.change == Change(before=last.layout, since=8)
    assert (begun.change.before.places, begun.places) == (before, after)
    back = next_step(begun, Wanted(TWO_POOLS, places=before), {}).map
    assert back.change == Change(before=last.layout, since=9)
    assert back.places == before


def test_one_node_has_records_and_bodies_together() -> None:
    """Places come with the second node and go with it, by the same change."""
    alone = a_map(["n-0", "n-1"], {"n-1": "spare"})
    same = next_step(a_map(["n-0"]), Wanted(seats(["n-0"]), places=ARCHIVE), reports(["n-0"]))
    assert same.map.places == ()
    wanted = Wanted(seats(["n-0", "n-1"]), places=ARCHIVE)
    grown = next_step(alone, wanted, reports(["n-0", "n-1"], registers=0)).map
    assert grown.change == Change(before=alone.layout, since=8)
    assert grown.places == ARCHIVE
    once = (MapPolicy(name="once", copies=1),)
    both = a_map(["n-0", "n-1"], policies=once, places=ARCHIVE)
    shrunk = next_step(both, Wanted(seats(["n-0"]), once, places=ARCHIVE), reports(["n-0", "n-1"])).map
    assert shrunk.change == Change(before=both.layout, since=8)
    assert shrunk.places == ()


@pytest.mark.parametrize(("places", "keeper"), [(ARCHIVE, "storage class ARCHIVE"), (PINNED, "an assignment rule")])
def test_a_pool_keeps_as_many_nodes_as_the_bodies_in_it_have_copies(places: tuple[BodyPlace, ...], keeper: str) -> None:
    """Of any key: a class's objects are in any bucket. Nodes of other pools leave as they like."""
    last = two_pools(a_map(FIVE, places=places))
    step = next_step(last, Wanted(TWO_POOLS[:4], places=places), reports(FIVE))
    assert step.refusal is not None
    assert f"there are 2 copies of what {keeper} keeps in slow, and 1 nodes of it would stay" in step.refusal.message
    assert step.map is last
    elsewhere = next_step(last, Wanted((*TWO_POOLS[:2], *TWO_POOLS[3:]), places=places), reports(FIVE))
    assert (elsewhere.refusal, states(elsewhere.map)["n-2"]) == (None, "leaving")
    once = (MapPolicy(name="once", copies=1), MapPolicy(name="hot", pools=("n",), buckets=("hot",), copies=1))
    fewer = next_step(last, Wanted(TWO_POOLS[:4], once, places=places), reports(FIVE))
    assert (fewer.refusal, states(fewer.map)["n-4"]) == (None, "leaving")


def test_a_pool_may_be_emptied_once_a_class_is_bound_elsewhere() -> None:
    """In the same edit: what the class keeps there moves before its nodes are empty."""
    last = two_pools(a_map(FIVE, places=ARCHIVE))
    elsewhere = (BodyPlace(name="ARCHIVE", pools=("n",)),)
    step = next_step(last, Wanted(seats(THREE), places=elsewhere), reports(FIVE))
    assert (step.refusal, states(step.map)["n-3"]) == (None, "leaving")
    assert (step.map.places, step.map.change) == (elsewhere, Change(before=last.layout, since=8))


def test_the_last_bodies_of_a_place_are_never_given_up() -> None:
    """Nodes elsewhere have records of them and no bytes. What the layout before has there counts in a change."""
    last = two_pools(a_map(FIVE, places=ARCHIVE))
    moving = last.model_copy(update={"places": (), "change": Change(before=last.layout, since=7)})
    for drawn, places in ((last, ARCHIVE), (moving, ())):
        both = next_step(drawn, Wanted(TWO_POOLS, (), frozenset(SPARES), places), reports(THREE))
        assert (both.map.layout, both.map.change) == (drawn.layout, drawn.change)
        assert "no node of slow would be left that has what storage class ARCHIVE keeps there" in both.waits[0]
        one = next_step(drawn, Wanted(TWO_POOLS, (), frozenset({"n-4"}), places), reports(FIVE[:4]))
        assert one.map.given_up == ("n-4",)


def test_room_for_bodies_is_looked_for_in_their_pools() -> None:
    """Records of a node that leaves go anywhere, its bodies to its neighbours in the pool alone."""
    policies = (MapPolicy(name="all", copies=1),)
    last = two_pools(a_map(FIVE, policies=policies, places=ARCHIVE))
    full = reports(FIVE) | reports(["n-3"], volume=Volume(1000, 920, 80))
    step = next_step(last, Wanted(TWO_POOLS[:4], policies, places=ARCHIVE), full)
    assert step.refusal is not None
    assert re.search(r"no room for what they hold: n-3 lacks \d+;", step.refusal.message)
    roomy = reports(FIVE) | reports(["n-3"], volume=Volume(1000, 890, 110))
    for storage_class, refused in (("ARCHIVE", True), ("STANDARD", False)):
        held = roomy | reports(["n-4"], classes={storage_class: 100})
        step = next_step(last, Wanted(TWO_POOLS[:4], policies, places=ARCHIVE), held)
        assert (step.refusal is not None) is refused, "what leaves is of this class, and goes where its bodies go"
    cold = Replication(name="cold", pools=("slow",), copies=1)
    own = (BodyPlace(name="ARCHIVE", pools=("n", "slow"), replication=(cold,)),)
    tight = reports(FIVE) | reports(["n-3"], volume=Volume(1000, 930, 70)) | reports(["n-4"], classes={"ARCHIVE": 100})
    for places, refused in ((own, True), ((own[0].model_copy(update={"replication": ()}),), False)):
        placed = last.model_copy(update={"places": places})
        step = next_step(placed, Wanted(TWO_POOLS[:4], policies, places=places), tight)
        assert (step.refusal is not None) is refused, "a policy of the class keeps it in the pool of those who leave"
    anywhere = last.model_copy(update={"places": ()})
    step = next_step(anywhere, Wanted(TWO_POOLS[:4], policies), full)
    assert (step.refusal, states(step.map)["n-4"]) == (None, "leaving")


@pytest.mark.parametrize(("free", "refused"), [(70, True), (100, False)])
def test_a_drain_needs_room_where_its_data_goes(free: int, refused: bool) -> None:
    """Two nodes with 100 bytes each on three: about 67 for each, and 20 of each volume stay free."""
    tight = reports(THREE, volume=Volume(1000, 900, free)) | reports(["n-3", "n-4"])
    step = next_step(a_map(FIVE), Wanted(seats(THREE)), tight)
    assert (step.refusal is not None) is refused
    if step.refusal is not None:
        assert step.refusal.reason == "NoRoom"
        assert re.search(r"n-0 lacks 1\d", step.refusal.message)


def test_a_drain_needs_room_where_zones_send_its_data() -> None:
    """The only other node of a zone takes all that its neighbour held, however much room there is elsewhere."""
    zones = {"n-0": "a", "n-1": "b", "n-2": "c", "n-3": "c"}
    last = a_map(zones)
    placed = tuple(node.model_copy(update={"zone": zones[node.name]}) for node in last.nodes)
    wanted = tuple(replace(seat, zone=zones[seat.name]) for seat in seats(THREE))
    full = reports(zones) | reports(["n-2"], volume=Volume(1000, 900, 100))
    step = next_step(last.model_copy(update={"nodes": placed}), Wanted(wanted), full)
    assert step.refusal is not None
    assert "no room for what they hold: n-2 lacks 21; raise the volume.size" in step.refusal.message


def test_a_drain_waits_for_a_node_that_can_not_be_reached() -> None:
    """Before it begins, and while it is under way."""
    found = {name: report for name, report in reports(FIVE).items() if name != "n-1"}
    for last in (a_map(FIVE), a_map(FIVE, LEAVING, change=a_change(FIVE)), a_map(FIVE, LEAVING)):
        step = next_step(last, Wanted(seats(THREE)), {**found, "n-4": Report(7, None, 1)})
        assert step.refusal is not None
        assert (step.map is last, step.refusal.reason) == (True, "NodeUnreachable")
        assert "n-1" in step.refusal.message


@pytest.mark.parametrize("edit", ["zone", "weight", "copies"])
def test_zones_weights_and_copies_are_changes_like_any_other(edit: str) -> None:
    """They decide who owns what."""
    edits: dict[str, dict[str, Any]] = {"zone": {"zone": "b"}, "weight": {"weight": 2.0}, "copies": {}}
    policies = (MapPolicy(name="p", copies=2),) if edit == "copies" else ()
    last = a_map()
    step = next_step(last, Wanted(seats(THREE, **edits[edit]), policies), reports(THREE))
    assert step.map.change == Change(before=last.layout, since=8)
    assert step.map.layout != last.layout


def test_of_one_node_nothing_is_to_be_moved() -> None:
    """Its zone, weight and copies change without a change of owners."""
    step = next_step(a_map(["n-0"]), Wanted(seats(["n-0"], zone="b", weight=2.0)), reports(["n-0"]))
    assert (step.map.nodes[0].zone, step.map.change) == ("b", None)


def test_what_decides_no_owner_is_obeyed_at_once() -> None:
    """Addresses, and how a policy writes, in the middle of a change too."""
    before = (MapPolicy(name="p"),)
    last = a_map(FIVE, JOINING, change=Change(before=a_map(policies=before).layout, since=7), policies=before)
    moved = tuple(replace(seat, address="elsewhere:9001") for seat in seats(FIVE))
    step = next_step(last, Wanted(moved, (MapPolicy(name="p", write="all"),)), {})
    assert {node.address for node in step.map.nodes} == {"elsewhere:9001"}
    assert step.map.policies[0].write == "all"
    assert step.map.change == last.change


def test_a_lost_disk_is_given_up_and_its_node_joins_anew() -> None:
    """Once: the name may stay in the list. Who is dead already is not waited for."""
    last = a_map()
    wanted = Wanted(seats(THREE), lost=frozenset({"n-2"}))
    step = next_step(last, wanted, reports(["n-0", "n-1"]))
    assert step.map.change is not None
    assert [member.lost for member in step.map.change.before.members] == [False, False, True]
    assert [(node.name, node.number, node.state) for node in step.map.nodes][2] == ("n-2", 3, "spare")
    assert step.map.given_up == ("n-2",)
    said = {name: Report(8, None, None, 5) for name in ("n-0", "n-1")} | {"n-2": Report(8, None, None, 0)}
    joined = next_step(step.map, wanted, said).map
    assert states(joined)["n-2"] == "joining"
    assert joined.change is not None
    assert joined.change.before == step.map.change.before
    assert next_step(joined, Wanted(seats(THREE)), said).map.given_up == ()


def test_a_lost_disk_waits_for_what_is_left_of_the_last_change() -> None:
    """The others have to be rid of their strays, or would count as owners of them."""
    step = next_step(
        a_map(), Wanted(seats(THREE), lost=frozenset({"n-2"})), reports(["n-0"]) | reports(["n-1"], strays=1)
    )
    assert (step.map.change, step.map.given_up) == (None, ())
    assert "n-1 holds 1 keys" in step.waits[0]


@pytest.mark.parametrize(
    ("last", "lost"),
    [
        (a_map(["n-0"]), {"n-0"}),
        (a_map(), set(THREE)),
        (a_map(["n-0", "n-1"], {"n-1": "joining"}, change=a_change(["n-0"])), {"n-0"}),
        (a_map(["n-0", "n-1"], {"n-1": "leaving"}, change=a_change(["n-0", "n-1"])), {"n-0"}),
    ],
)
def test_the_last_copy_is_never_given_up(last: CloudMap, lost: set[str]) -> None:
    """Where nobody would be left that has the objects, the word is not taken."""
    names = [node.name for node in last.nodes if node.state != "leaving"]
    step = next_step(last, Wanted(seats(names), lost=frozenset(lost)), {})
    assert step.map.layout == last.layout
    assert step.map.change == last.change
    assert "can't be given up" in step.waits[0]


def test_a_lost_disk_in_the_middle_of_a_change() -> None:
    """Who is lost is flagged in the layout before and gone from the one after; the stage begins again."""
    last = a_map(FIVE, JOINING, change=a_change(stage="confirming"))
    step = next_step(last, Wanted(seats(FIVE), lost=frozenset({"n-1", "n-4"})), {})
    assert step.map.change is not None
    assert [member.lost for member in step.map.change.before.members] == [False, True, False]
    assert (step.map.change.stage, step.map.change.since) == ("copying", 8)
    assert states(step.map) == {"n-0": "active", "n-1": "spare", "n-2": "active", "n-3": "joining", "n-4": "spare"}


def test_a_spare_that_is_not_wanted_any_more_goes_at_once() -> None:
    """It owns nothing."""
    step = next_step(a_map(FIVE, SPARES), Wanted(seats(THREE)), {})
    assert list(states(step.map)) == list(THREE)
