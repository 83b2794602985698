"""A cloud changes its nodes while clients work: nothing acknowledged is lost, and the status tells the truth."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cluster import a_cloud, eventually
from tests.e2e.story import a_pool, blocked, clients_at_work, end, goes_on, pods, reasons, scale

if TYPE_CHECKING:
    from tests.e2e.cluster import Manifest, Namespace

pytestmark = pytest.mark.lab


def test_three_nodes_become_five_and_three_again(namespace: Namespace) -> None:
    """Up, then down with a change of mind in the middle, and never below the copies."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    with clients_at_work(namespace, seed=5):
        scale(namespace, 5)
        namespace.wait_settled("photos", "5/5")
        assert {node["state"] for node in namespace.map("photos")["nodes"]} == {"active"}

        scale(namespace, 3)
        eventually(lambda: namespace.map("photos")["change"], "the drain begins", 60)
        scale(namespace, 5)
        namespace.wait_settled("photos", "5/5")
        assert [node["number"] for node in namespace.map("photos")["nodes"]] == [0, 1, 2, 3, 4]

        scale(namespace, 2)
        assert "3 copies" in blocked(namespace, "TooFewNodes")["message"]
        assert len(pods(namespace)) == 5

        scale(namespace, 3)
        namespace.wait_settled("photos", "3/3")
    assert pods(namespace) == {"photos-0", "photos-1", "photos-2"}
    assert {"NodesComing", "ChangeBegun", "ChangeTurned", "ChangeConfirming", "ChangeOver", "NodeGone"} <= reasons(
        namespace
    )
    claims = {claim["metadata"]["name"] for claim in namespace.list("pvc", "moln.dev/cloud=photos")}
    assert "data-photos-4" in claims, "a volume is never deleted"


OBJECTS = 120
SIZE = 256 * 1024


def test_only_the_share_of_those_who_come_is_moved(namespace: Namespace) -> None:
    """Every object has its three copies again, no more, and hardly a body was moved that did not have to be."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    for number in range(OBJECTS):
        s3.put_object(Bucket="kept", Key=f"k{number}", Body=random.Random(number).randbytes(SIZE))
    began = time.monotonic()
    scale(namespace, 5)
    moved: dict[tuple[str, str], int] = {}

    def settled() -> bool:
        found = namespace.map("photos")
        stage = found["change"]["stage"] if found["change"] else ""
        for name in [node["name"] for node in found["nodes"] if node["state"] != "spare"]:
            moving = namespace.node_status("photos", name)["moving"]
            if moving is not None:
                moved[name, stage] = max(moved.get((name, stage), 0), moving["bytes"])
        namespace.wait_settled("photos", "5/5", 0)
        return True

    eventually(settled, "five nodes", 240)
    seconds = time.monotonic() - began

    def three_copies() -> dict[str, int]:
        held = {pod: int(namespace.node_status("photos", pod)["objects"]) for pod in pods(namespace)}
        assert sum(held.values()) == 3 * OBJECTS, held
        return held

    held = eventually(three_copies, "every object has three copies")
    least = SIZE * (held["photos-3"] + held["photos-4"])
    total = sum(moved.values())
    print(f"{seconds:.0f} s, {total} bytes moved, {least} had to: {moved}, {held}")  # noqa: T201 (shown with -s)
    assert 0.3 * OBJECTS < held["photos-3"] < 0.9 * OBJECTS
    assert total <= 1.2 * least


def test_a_pool_is_moved_to_other_disks(namespace: Namespace) -> None:
    """A pool is added, the old one deleted: that waits until its data has moved, and then it is gone."""
    namespace.operator()
    cloud = a_cloud("photos")
    del cloud["spec"]["nodes"]
    namespace.apply(cloud, a_pool("old"))
    namespace.wait_ready("photos", 150)
    with clients_at_work(namespace, seed=6):
        namespace.kubectl("delete", "storagenode", "old", "--wait=false")

        def says_what_it_waits_for() -> bool:
            found = {c["type"]: c for c in namespace.get("storagenode", "old")["status"]["conditions"]}
            assert found["Ready"]["reason"] == "Emptying", found
            return "can't be emptied: the cloud has no nodes" in found["Ready"]["message"]

        eventually(says_what_it_waits_for, "the old pool says that nobody can take its data", 60)
        namespace.apply(a_pool("new"))
        eventually(lambda: not _exists(namespace, "old"), "the old pool is emptied and gone", 240)
        namespace.wait_settled("photos", "1/1")
    assert pods(namespace) == {"new-0"}


def a_policy(name: str, pool: str, *buckets: str) -> Manifest:
    """A ReplicationPolicy that binds buckets (none: everything) to a pool, with one copy."""
    return {
        "apiVersion": "moln.dev/v1alpha1",
        "kind": "ReplicationPolicy",
        "metadata": {"name": name},
        "spec": {"cloudRef": {"name": "photos"}, "selector": {"buckets": list(buckets)}, "copies": 1, "pools": [pool]},
    }


def test_policies_bind_buckets_to_pools(namespace: Namespace) -> None:
    """Bytes are where they shall be, and nowhere else; a pool that a policy names stays; and an edit moves them on."""
    namespace.operator()
    namespace.apply(a_cloud("photos"), a_pool("slow"), a_policy("rest", "photos"), a_policy("cold", "slow", "cold"))
    namespace.wait_settled("photos", "2/2")
    s3 = namespace.s3("photos")
    for bucket, count in (("warm", 3), ("cold", 5)):
        s3.create_bucket(Bucket=bucket)
        for number in range(count):
            s3.put_object(Bucket=bucket, Key=f"k{number}", Body=random.Random(number).randbytes(SIZE))

    def held() -> dict[str, int]:
        return {pod: namespace.node_status("photos", pod)["objects"] for pod in pods(namespace)}

    assert held() == {"photos-0": 3, "slow-0": 5}
    accepted = namespace.condition("cold", "Accepted", "replicationpolicy")
    assert (accepted["reason"], accepted["status"]) == ("Valid", "True")

    with clients_at_work(namespace, seed=8):
        namespace.kubectl("delete", "storagenode", "slow", "--wait=false")

        def says_who_names_it() -> bool:
            found = {c["type"]: c for c in namespace.get("storagenode", "slow")["status"]["conditions"]}
            return "ReplicationPolicy cold names the pool slow" in found["Ready"]["message"]

        eventually(says_who_names_it, "the pool says that a policy names it", 60)
        assert namespace.condition("photos", "Accepted")["status"] == "False"
        assert len(s3.list_objects_v2(Bucket="cold")["Contents"]) == 5
        namespace.apply(a_policy("cold", "photos", "cold"))
        eventually(lambda: not _exists(namespace, "slow"), "the pool is emptied and gone", 240)
        namespace.wait_settled("photos", "1/1")
    for number in range(5):
        body = s3.get_object(Bucket="cold", Key=f"k{number}")["Body"].read()
        assert body == random.Random(number).randbytes(SIZE)


def _exists(namespace: Namespace, pool: str) -> bool:
    return any(found["metadata"]["name"] == pool for found in namespace.list("storagenodes"))


def test_a_node_whose_disk_is_gone_is_given_up_and_joins_anew(namespace: Namespace) -> None:
    """By the user's word: its copies are made again from the others, under a new number."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    with clients_at_work(namespace, seed=7):
        namespace.kubectl("delete", "pvc", "data-photos-2", "--wait=false")
        namespace.patch("cloud", "photos", {"spec": {"nodes": {"lostNodes": ["photos-2"]}}})
        namespace.kubectl("delete", "pod", "photos-2", "--grace-period=0", "--force")
        eventually(lambda: namespace.map("photos")["givenUp"] == ["photos-2"], "the disk is given up", 60)
        namespace.wait_settled("photos", "3/3")
        numbers = [node["number"] for node in namespace.map("photos")["nodes"]]
        assert numbers == [0, 1, 3]
        for name in ("photos-0", "photos-1"):
            end(namespace, name)
            namespace.wait_ready("photos", 120)


SECONDS = float(os.environ.get("MOLN_CHAOS_SECONDS", "60"))
STEPS = ("scale", "scale", "operator", "pod", "wait")
SEED = int(os.environ.get("MOLN_CHAOS_SEED", "9"))


def test_any_edits_and_deaths_in_the_middle_of_changes(namespace: Namespace) -> None:
    """Replicas go up and down at random while operator and nodes die; MOLN_CHAOS_SECONDS makes it longer."""
    chance = random.Random(SEED)
    operator = namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    done = Counter[str]()
    steps: list[str] = []
    with clients_at_work(namespace, seed=SEED):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            steps = steps or chance.sample(STEPS, len(STEPS))
            step = steps.pop()
            done[step] += 1
            if step == "scale":
                scale(namespace, chance.randrange(3, 6))
            elif step == "operator":
                operator.kill()
                operator = namespace.operator()
            elif step == "pod":
                name = chance.choice(sorted(pods(namespace)))
                namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")
            time.sleep(chance.uniform(1, 6))
        scale(namespace, 3)
        namespace.wait_settled("photos", "3/3", 400)
    epochs = namespace.map("photos")["epoch"]
    print(f"{dict(done)}, {epochs} epochs")  # noqa: T201 (shown with -s)
    numbers = [node["number"] for node in namespace.map("photos")["nodes"]]
    assert numbers == [0, 1, 2], "who was wanted all the time stayed a member all the time"


PART = 4 * 1024 * 1024


def test_nodes_leave_once_there_is_room_for_what_they_hold(namespace: Namespace) -> None:
    """It is seen before anything moves, said with figures, and goes on by itself when objects were deleted."""
    namespace.operator()
    policy = {"apiVersion": "moln.dev/v1alpha1", "kind": "ReplicationPolicy", "metadata": {"name": "one"}}
    policy["spec"] = {"cloudRef": {"name": "photos"}, "copies": 1}
    namespace.apply(policy, a_cloud("photos", nodes={"replicas": 2}))
    namespace.wait_ready("photos", 150)
    with clients_at_work(namespace, seed=14) as ledger:
        s3 = namespace.s3("photos")
        s3.create_bucket(Bucket="much")
        written = 0
        while not _too_much(namespace):
            for number in range(written, written + 8):
                s3.put_object(Bucket="much", Key=f"k{number}", Body=random.Random(number).randbytes(PART))
            written += 8
        epoch = namespace.epoch("photos")
        scale(namespace, 1)
        told = blocked(namespace, "NoRoom")["message"]
        print(f"{written} objects: {told}")  # noqa: T201 (shown with -s)
        assert "photos-1 can't leave, because there is no room for what they hold: photos-0 lacks" in told
        goes_on(ledger)
        assert namespace.epoch("photos") == epoch, "nothing has begun"
        assert pods(namespace) == {"photos-0", "photos-1"}

        for number in range(2 * written // 3):
            s3.delete_object(Bucket="much", Key=f"k{number}")
        namespace.wait_settled("photos", "1/1", 90)
        assert namespace.condition("photos", "ScaleDownBlocked")["status"] == "False"
        left = namespace.s3("photos")
        for number in range(2 * written // 3, written):
            body = left.get_object(Bucket="much", Key=f"k{number}")["Body"].read()
            assert body == random.Random(number).randbytes(PART)
    assert pods(namespace) == {"photos-0"}


def _too_much(namespace: Namespace) -> bool:
    """Whether what photos-1 holds has no room on photos-0, by what both say of their disks."""
    stays, leaves = (namespace.node_status("photos", name) for name in ("photos-0", "photos-1"))
    reserve = namespace.map("photos")["limits"]["reservePercent"] / 100
    room = float(stays["freeBytes"]) - float(stays["capacityBytes"]) * reserve
    return bool(leaves["usedBytes"] > 1.1 * room)


def test_a_pool_is_scaled_by_hand_and_by_an_autoscaler(namespace: Namespace) -> None:
    """`kubectl scale` and a HorizontalPodAutoscaler of the cluster, both by the pool's /scale, up and down.

    The autoscaler obeys its bounds; it needs no metrics for that, and the lab has none.
    """
    namespace.operator()
    cloud = a_cloud("photos")
    del cloud["spec"]["nodes"]
    namespace.apply(cloud, a_pool("fast", replicas=3))
    namespace.wait_ready("photos", 150)
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
    }
    target = {"apiVersion": "moln.dev/v1alpha1", "kind": "StorageNode", "name": "fast"}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "fast"}}
    with clients_at_work(namespace, seed=15):
        scale(namespace, 4, "storagenode/fast")
        namespace.wait_settled("photos", "4/4")
        namespace.apply(
            {**scaler, "spec": {"scaleTargetRef": target, "minReplicas": 5, "maxReplicas": 6, "metrics": [metric]}}
        )
        eventually(lambda: namespace.get("storagenode", "fast")["spec"]["replicas"] == 5, "it scales up", 60)
        namespace.wait_settled("photos", "5/5")
        namespace.patch("hpa", "fast", {"spec": {"minReplicas": 3, "maxReplicas": 3}})
        eventually(lambda: namespace.get("storagenode", "fast")["spec"]["replicas"] == 3, "it scales down", 60)
        namespace.wait_settled("photos", "3/3")
    assert pods(namespace) == {"fast-0", "fast-1", "fast-2"}
    assert namespace.get("hpa", "fast")["status"]["currentReplicas"] == 3
