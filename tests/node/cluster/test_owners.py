"""Who owns what by a map: one list, two while it changes, and the policies that select keys."""

from __future__ import annotations

from itertools import combinations

from moln_node.cluster import bodykeys, uploadkeys
from moln_node.cluster.owners import Owners
from moln_node.store.registers import Register, Space
from moln_spec.cloudmap import BodyPlace, Change, CloudMap, MapNode, MapPolicy

KEYS = [f"k{number}" for number in range(200)]


def a_map(names: str, *, policies: tuple[MapPolicy, ...] = (), change: Change | None = None) -> CloudMap:
    """A map of nodes with one letter each."""
    nodes = tuple(MapNode(name=name, number=ord(name), address="x:1", pool="p") for name in names)
    return CloudMap(cloud="c", uid="u", epoch=2, partitions=64, nodes=nodes, policies=policies, change=change)


def register(key: str) -> Register:
    """An object's register."""
    return Register(Space.OBJECTS, key, "room", b"i")


def test_only_what_a_new_node_wins_moves() -> None:
    """A register whose owners stay the same has one list also while the cloud changes; others have two."""
    before = a_map("abcd")
    owners = Owners(a_map("abcde", change=Change(before=before.layout, since=2)))
    moving = [key for key in KEYS if owners.moves(register(key))]
    assert all("e" in owners.of(register(key)).owners for key in moving)
    assert 0.4 < len(moving) / len(KEYS) < 0.8  # three of five own it
    assert owners.moves(Register(Space.BUCKETS, "room"))


def test_an_upload_is_where_its_object_is() -> None:
    """Completing an upload is one accept of the object's owners: they must have its parts."""
    owners = Owners(a_map("abcdef"))
    for key in KEYS:
        part = Register(Space.UPLOADS, uploadkeys.part(key, "id", 3), "room", b"i")
        assert owners.of(part) is owners.of(register(key))


def test_the_most_specific_policy_says_how_many_copies() -> None:
    """The longest prefix, then a named bucket; else the policy for everything."""
    policies = (
        MapPolicy(name="all", copies=2),
        MapPolicy(name="bucket", buckets=("r*m",), copies=1),
        MapPolicy(name="prefix", prefixes=("k1",), copies=4),
    )
    owners = Owners(a_map("abcdef", policies=policies))
    assert len(owners.of(register("k1x")).owners) == 4
    assert len(owners.of(register("k2")).owners) == 1
    assert len(owners.of(Register(Space.OBJECTS, "k2", "other", b"i")).owners) == 2
    assert [owners.copies(bucket) for bucket in ("room", "other")] == [1, 2]
    fewer = set("abcd")
    assert not owners.are_covered_by(fewer, "room"), "of some keys of this bucket one node has the only copy"
    assert Owners(a_map("abcdef", policies=policies[1:2])).are_covered_by(set("abcde"), "other")


def test_a_cover_has_a_quorum_of_every_partition() -> None:
    """What such nodes hold together is all that is settled; readers ask the list before until it is dropped."""
    owners = Owners(a_map("abcde"))
    for some in combinations("abcde", 3):
        covered = all(owners.of(register(f"{n}")).settled(set(some)) for n in range(2000))
        assert owners.are_covered_by(set(some)) == covered
    assert owners.are_covered_by(set("abcd"))
    before = a_map("abc").layout
    assert Owners(a_map("cde", change=Change(before=before, since=2))).are_covered_by(set("ab"))
    confirming = Owners(a_map("cde", change=Change(before=before, stage="confirming", since=2)))
    assert not confirming.are_covered_by(set("ab"))
    assert confirming.are_covered_by(set("abde"))


def test_a_policy_that_selects_a_class_is_for_bodies_alone() -> None:
    """Of that class, also for parts of uploads; it says how many copies, among whom, and how many a write waits for."""
    some = MapPolicy(name="some", prefixes=("k1",), storage_classes=("A",), pools=("q",), copies=2)
    policies = (MapPolicy(name="thin", storage_classes=("A",), copies=1, write="all"), some, MapPolicy(name="all"))
    replication = tuple(policy.replication for policy in policies if policy.storage_classes)
    places = (BodyPlace(name="A", pools=("p",), replication=replication), BodyPlace(name="B", pools=("p",)))
    nodes = [node.model_copy(update={"pool": "q" if node.name in "ef" else "p"}) for node in a_map("abcdef").nodes]
    drawn = a_map("abcdef", policies=policies).model_copy(update={"places": places, "nodes": tuple(nodes)})
    owners = Owners(drawn)
    for key in KEYS:
        body = Register(Space.BODIES, bodykeys.register_key(key, bodykeys.name("v" * 20, "A")), "room", b"i")
        part = Register(Space.UPLOADS, uploadkeys.part(key, bodykeys.name("v" * 20, "A"), 3), "room", b"i")
        other = Register(Space.BODIES, bodykeys.register_key(key, bodykeys.name("v" * 20, "B")), "room", b"i")
        bound = key.startswith("k1")
        assert owners.of(part) is owners.of(body)
        assert len(owners.of(body).owners) == (2 if bound else 1)
        assert set(owners.of(body).owners) <= set("ef" if bound else "abcd")
        assert owners.policy(body).name == owners.policy(part).name == ("some" if bound else "thin")
        assert (len(owners.of(other).owners), owners.policy(other).name) == (3, "all")
        assert (len(owners.of(register(key)).owners), owners.policy(register(key)).name) == (3, "all")
