"""The pure step from resources to the cloud map, by tables; and that every example makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from moln_spec.cloudmap import CloudMap
from moln_spec.mapmaking import UnusableCloudError, places_of, pool_weights
from moln_spec.mapmaking import make_map as make_step
from moln_spec.membership import Report, Seat
from moln_spec.resources.cloud import Cloud
from moln_spec.resources.policy import ReplicationPolicy
from moln_spec.resources.storagenode import StorageNode

EXAMPLES = Path(__file__).parents[2] / "examples"
SEAT = Seat(name="photos-0", address="photos-0.photos-nodes:9001", pool="photos", zone="a")


def make_map(*arguments: Any, **more: Any) -> CloudMap:
    """The map alone."""
    return make_step(*arguments, **more).map


def a_cloud(**spec: Any) -> Cloud:
    """A cloud `photos` with one node, changed by `spec`."""
    return Cloud.model_validate({"metadata": {"name": "photos", "uid": "u1"}, "spec": {"nodes": {}, **spec}})


def a_pool(name: str, **spec: Any) -> StorageNode:
    """A StorageNode of the cloud `photos`."""
    return StorageNode.model_validate({"metadata": {"name": name}, "spec": {"cloudRef": {"name": "photos"}, **spec}})


def a_policy(name: str, cloud: str = "photos", **spec: Any) -> ReplicationPolicy:
    """A ReplicationPolicy of `cloud`."""
    return ReplicationPolicy.model_validate({"metadata": {"name": name}, "spec": {"cloudRef": {"name": cloud}, **spec}})


def test_a_first_map_carries_the_identity_and_starts_at_epoch_one() -> None:
    """Identity, epoch and number of a first map."""
    drawn = make_map(a_cloud(), [], [], [SEAT], None)
    assert (drawn.uid, drawn.epoch, drawn.nodes[0].number, drawn.next_number) == ("u1", 1, 0, 1)
    assert drawn.nodes[0].zone == "a"


def test_nothing_changed_gives_the_same_map() -> None:
    """A reconcile of a settled cloud must not make a new epoch."""
    first = make_map(a_cloud(), [], [], [SEAT], None)
    assert make_map(a_cloud(), [], [], [SEAT], first) is first
    stored = CloudMap.model_validate_json(first.model_dump_json())
    assert make_map(a_cloud(), [], [], [SEAT], stored) is stored


@pytest.mark.parametrize(
    "spec",
    [
        {"storageClasses": [{"name": "A"}]},
        {"assignmentRules": [{"match": {"prefix": "x"}, "storageClass": "STANDARD"}]},
        {"limits": {"reservePercent": 5}},
        {"nodes": {"weight": 2}},
    ],
)
def test_an_edit_makes_the_next_epoch(spec: dict[str, Any]) -> None:
    """Each thing that nodes obey makes a new epoch when it changes."""
    first = make_map(a_cloud(), [], [], [SEAT], None)
    assert make_map(a_cloud(**spec), [], [], [SEAT], first).epoch == 2


def test_what_nodes_do_not_obey_makes_no_epoch() -> None:
    """A Service's port is no matter of the map."""
    first = make_map(a_cloud(), [], [], [SEAT], None)
    assert make_map(a_cloud(service={"port": 80}), [], [], [SEAT], first) is first


def test_a_recreated_cloud_keeps_the_identity_of_its_volumes() -> None:
    """The previous map's uid wins over the new Cloud's own, or the nodes would refuse it."""
    first = make_map(a_cloud(), [], [], [SEAT], None)
    reborn = Cloud.model_validate({"metadata": {"name": "photos", "uid": "u2"}, "spec": {"nodes": {}}})
    assert make_map(reborn, [], [], [SEAT], first).uid == "u1"
    assert make_map(reborn, [], [], [SEAT], None, identity="u0").uid == "u0"


def test_each_node_has_a_number_of_its_own() -> None:
    """Given once, kept by every later map, and the next one is known."""
    second = Seat(name="photos-1", address="photos-1:9001", pool="photos")
    drawn = make_map(a_cloud(), [], [], [SEAT, second], None)
    assert [node.number for node in drawn.nodes] == [0, 1]
    later = make_map(a_cloud(limits={"reservePercent": 5}), [], [], [second, SEAT], drawn)
    assert [(node.name, node.number) for node in later.nodes] == [("photos-0", 0), ("photos-1", 1)]
    assert later.next_number == 2


def test_pools_of_a_class_come_from_both_sides() -> None:
    """A class names pools, a pool names classes; the map says where both agree."""
    cloud = a_cloud(
        nodes=None,
        storageClasses=[{"name": "A", "default": True}, {"name": "B", "pools": ["slow"]}, {"name": "C"}],
    )
    with pytest.raises(UnusableCloudError, match="no pool keeps storage class C"):
        make_map(cloud, [a_pool("slow", storageClasses=["A", "B"])], [], [SEAT], None)
    drawn = make_map(cloud, [a_pool("slow")], [], [SEAT], None)
    assert {c.name: c.pools for c in drawn.storage_classes} == {"A": (), "B": ("slow",), "C": ()}


@pytest.mark.parametrize(
    ("cloud", "pools", "sentence"),
    [
        (a_cloud(nodes=None), [], "the cloud has no nodes; add spec.nodes"),
        (a_cloud(storageClasses=[{"name": "A", "pools": ["x"]}]), [], "storage class A names the pool x"),
        (a_cloud(assignmentRules=[{"pool": "x"}]), [], "assignment rule 1 pins to the pool x"),
        (a_cloud(), [a_pool("photos", storageClasses=["Z"])], "StorageNode photos keeps the storage class Z"),
        (a_cloud(nodes={"replicas": 30}), [a_pool("more", replicas=21)], "at most 50 nodes, and its pools ask for 51"),
    ],
)
def test_contradictions_are_told_in_sentences(cloud: Cloud, pools: list[StorageNode], sentence: str) -> None:
    """What the schema can't see is refused, and the sentence names what to change."""
    with pytest.raises(UnusableCloudError, match=sentence):
        make_map(cloud, pools, [], [SEAT], None)


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (a_policy("a", selector={"storageClasses": ["x"]}), r"the storage class x, .* \(it has STANDARD\)"),
        (a_policy("a", selector={"storageClasses": ["STANDARD"]}, copies=4), "have 3 by default; let one without"),
        (a_policy("a", pools=["photos", "tape"]), r"names the pool tape, .* \(it has photos\)"),
    ],
)
def test_policies_that_can_not_be_obeyed_are_refused(policy: ReplicationPolicy, sentence: str) -> None:
    """What they name must be there, and a record has as many copies as its body; with one node it changes nothing."""
    two = [SEAT, Seat("photos-1", "photos-1:9001", "photos")]
    with pytest.raises(UnusableCloudError, match=sentence):
        make_map(a_cloud(nodes={"replicas": 2}), [], [policy], two, None)
    if not policy.spec.pools:
        assert make_map(a_cloud(), [], [policy], [SEAT], None).policies


@pytest.mark.parametrize("write", ["one", "majority", "all"])
@pytest.mark.parametrize("read", ["one", "majority"])
def test_policies_say_how_many_copies_are_written_and_read(write: str, read: str) -> None:
    """Every mode is obeyed with several nodes."""
    two = [SEAT, Seat("photos-1", "photos-1:9001", "photos")]
    policy = a_policy("a", write=write, read=read)
    [found] = make_map(a_cloud(nodes={"replicas": 2}), [], [policy], two, None).policies
    assert (found.write, found.read) == (write, read)


def test_who_belongs_to_the_cloud_is_a_step_of_its_own() -> None:
    """More nodes are named, and join by a change; rules are obeyed at once beside it; lost nodes of any pool count."""
    two = [SEAT, Seat("photos-1", "photos-1:9001", "photos", zone="a")]
    first = make_map(a_cloud(nodes={"replicas": 2}), [], [], two, None)
    more = a_cloud(nodes={"replicas": 3, "weight": 2}, limits={"reservePercent": 5})
    three = [*two, Seat("photos-2", "photos-2:9001", "photos")]
    named = make_step(more, [], [], three, first)
    assert [(node.state, node.weight) for node in named.map.nodes] == [("active", 1), ("active", 1), ("spare", 2)]
    assert named.map.limits.reserve_percent == 5
    assert named.waits == ("starting: photos-2",)
    said = {name: Report(2, strays=0, registers=number % 2) for number, name in enumerate(("photos-2", "photos-1"))}
    begun = make_map(more, [], [], three, named.map, reports={**said, "photos-0": Report(2, strays=0)})
    assert [(node.state, node.weight) for node in begun.nodes] == [("active", 2), ("active", 2), ("joining", 2)]
    assert begun.change is not None
    lost = make_map(
        a_cloud(nodes={"replicas": 2, "lostNodes": ["photos-1"]}),
        [a_pool("photos", lostNodes=["photos-0"])],
        [],
        two,
        first,
        reports={"photos-0": Report(1, strays=0)},
    )
    assert lost.given_up == ("photos-1",)


@pytest.mark.parametrize(
    ("spec", "pools", "places"),
    [
        ({}, [a_pool("slow")], []),
        (
            {"storageClasses": [{"name": "A", "default": True}, {"name": "B", "pools": ["slow"]}]},
            [a_pool("slow")],
            [("B", ("slow",))],
        ),
        (
            {"storageClasses": [{"name": "B"}, {"name": "A", "default": True}]},
            [a_pool("slow", storageClasses=["A"]), a_pool("more")],
            [("B", ("more", "photos"))],
        ),
        (
            {
                "storageClasses": [{"name": "B", "pools": ["slow", "photos"]}],
                "assignmentRules": [{"pool": "slow"}, {"storageClass": "B"}, {"pool": "photos"}, {"pool": "slow"}],
            },
            [a_pool("slow")],
            [("B", ("photos", "slow")), ("@photos", ("photos",)), ("@slow", ("slow",))],
        ),
    ],
)
def test_bodies_have_a_place_where_a_class_or_a_rule_names_pools(
    spec: dict[str, Any], pools: list[StorageNode], places: list[tuple[str, tuple[str, ...]]]
) -> None:
    """From either side, in a cloud of several nodes; it is the same map as long as nothing is edited."""
    two = [SEAT, Seat("slow-0", "slow-0:9001", "slow")]
    drawn = make_map(a_cloud(**spec), pools, [], two, None)
    assert [(place.name, place.pools) for place in drawn.places] == places
    assert drawn.layout.places == drawn.places
    assert make_map(a_cloud(**spec), pools, [], two, drawn) is drawn
    assert make_map(a_cloud(**spec), pools, [], [SEAT], None).places == ()


def test_a_policy_that_selects_a_class_makes_a_place_for_it() -> None:
    """In every pool, or in those of the class; records must have as many copies by the policies without classes."""
    two = [SEAT, Seat("slow-0", "slow-0:9001", "slow")]
    spec = {"storageClasses": [{"name": "A", "default": True}, {"name": "B", "pools": ["slow"]}, {"name": "C"}]}
    thin = a_policy("thin", selector={"storageClasses": ["A", "B"]}, copies=1)
    drawn = make_map(a_cloud(**spec), [a_pool("slow")], [thin], two, None)
    found = [(place.name, place.pools, [rule.name for rule in place.replication]) for place in drawn.places]
    assert found == [("A", ("photos", "slow"), ["thin"]), ("B", ("slow",), ["thin"])]
    assert drawn.layout.replication == ()
    assert places_of(drawn) == drawn.places
    more = [a_policy("all", copies=5), a_policy("thick", selector={"storageClasses": ["C"]}, copies=5)]
    assert make_map(a_cloud(**spec), [a_pool("slow")], more, two, None).places[-1].name == "C"
    more[0] = a_policy("some", copies=5, selector={"buckets": ["b"]})
    with pytest.raises(UnusableCloudError, match=r"thick asks for 5 copies .* have 3 by default"):
        make_map(a_cloud(**spec), [a_pool("slow")], more, two, None)


def test_a_class_that_is_bound_to_a_pool_is_obeyed_at_once_and_its_bodies_move_by_a_change() -> None:
    """What is written meanwhile goes where the map still says; the change takes it along."""
    two = [SEAT, Seat("slow-0", "slow-0:9001", "slow")]
    first = make_map(a_cloud(), [a_pool("slow")], [], two, None)
    bound = a_cloud(storageClasses=[{"name": "A", "pools": ["slow"]}])
    waiting = make_map(bound, [a_pool("slow")], [], two, first)
    assert (waiting.storage_classes[0].pools, waiting.places, waiting.change) == (("slow",), (), None)
    said = {seat.name: Report(2, strays=0) for seat in two}
    begun = make_map(bound, [a_pool("slow")], [], two, waiting, reports=said)
    assert begun.change is not None
    assert ([place.name for place in begun.places], begun.change.before.places) == (["A"], ())


def test_a_policy_binds_what_it_selects_to_pools() -> None:
    """The map says so, and the layout has it; a pool of another cloud's policies is no matter."""
    two = [SEAT, Seat("slow-0", "slow-0:9001", "slow")]
    policies = [a_policy("cold", selector={"buckets": ["cold"]}, pools=["slow"]), a_policy("z", "other", pools=["x"])]
    drawn = make_map(a_cloud(), [a_pool("slow")], policies, two, None)
    assert [(rule.name, rule.pools) for rule in drawn.layout.replication] == [("cold", ("slow",))]
    assert [(member.name, member.pool) for member in drawn.layout.members] == [
        ("photos-0", "photos"),
        ("slow-0", "slow"),
    ]


def test_only_the_clouds_own_policies_are_in_its_map() -> None:
    """Policies are sorted by name, and those of other clouds stay out."""
    policies = [a_policy("b", copies=2), a_policy("a", write="one"), a_policy("c", cloud="other")]
    drawn = make_map(a_cloud(), [], policies, [SEAT], None)
    assert [(policy.name, policy.copies, policy.write) for policy in drawn.policies] == [
        ("a", 3, "one"),
        ("b", 2, "majority"),
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_makes_a_map(path: Path) -> None:
    """The files that we tell users to apply are usable."""
    documents = list(yaml.safe_load_all(path.read_text()))
    clouds = [Cloud.model_validate(d) for d in documents if d["kind"] == "Cloud"]
    policies = [ReplicationPolicy.model_validate(d) for d in documents if d["kind"] == "ReplicationPolicy"]
    pools = [StorageNode.model_validate(d) for d in documents if d["kind"] == "StorageNode"]
    for cloud in clouds:
        seats = [Seat(f"{pool}-0", f"{pool}-0:9001", pool) for pool in pool_weights(cloud, pools)]
        drawn = make_map(cloud, pools, policies, seats, None, identity="u")
        assert drawn.cloud == cloud.metadata.name
