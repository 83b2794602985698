"""The bytes of a storage class live in the pools that it names, whatever happens to these; records live everywhere."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.e2e.cluster import a_cloud, eventually, is_ready
from tests.e2e.story import a_pool, blocked, clients_at_work, goes_on, moln, pods, scale

if TYPE_CHECKING:
    from tests.e2e.cluster import Manifest, Namespace

pytestmark = pytest.mark.lab

NODES: Final = 3
OBJECTS: Final = 8
SIZE: Final = 1024 * 1024
PART: Final = 5 * 1024 * 1024
CLASSES: Final = ("STANDARD", "ARCHIVE")
SECONDS: Final = float(os.environ.get("MOLN_CHAOS_SECONDS", "60"))
SEED: Final = int(os.environ.get("MOLN_CHAOS_SEED", "33"))
STEPS: Final = ("bind", "bind", "scale", "operator", "pod")


def classes(pool: str) -> list[Manifest]:
    """Classes of which STANDARD is bound to the default pool and ARCHIVE to this one, or nowhere."""
    archive = {"name": "ARCHIVE"} if pool == "nowhere" else {"name": "ARCHIVE", "pools": [pool]}
    return [{"name": "STANDARD", "default": True, "pools": ["photos"]}, archive]


def two_pools(namespace: Namespace, size: str = "300Mi") -> None:
    """A cloud of the pools photos and archive, three nodes each; ARCHIVE is bound to the latter, and films pinned."""
    namespace.operator()
    volume = {"size": size}
    archive = a_pool("archive", replicas=NODES, volume=volume)
    pinned = [{"match": {"prefix": "films/"}, "pool": "archive"}]
    bound = a_cloud(
        "photos", nodes={"replicas": NODES, "volume": volume}, storageClasses=classes("archive"), assignmentRules=pinned
    )
    namespace.apply(archive, bound)
    namespace.wait_settled("photos", f"{2 * NODES}/{2 * NODES}")


def held(namespace: Namespace, storage_class: str) -> dict[str, int]:
    """The bytes of a class that are in each pool, over its nodes, as these say; no pool that has none."""
    found: dict[str, int] = {}
    for pod in pods(namespace):
        size = namespace.node_status("photos", pod)["classes"].get(storage_class, {}).get("bytes", 0)
        if size:
            pool = pod.rpartition("-")[0]
            found[pool] = found.get(pool, 0) + size
    return found


def all_in(namespace: Namespace, pool: str) -> None:
    """Wait until everything of class ARCHIVE is in a pool."""

    def found() -> bool:
        there = held(namespace, "ARCHIVE")
        assert set(there) == {pool}, there
        return True

    eventually(found, f"everything of class ARCHIVE is in {pool}", 240)


def holds(namespace: Namespace, storage_class: str, expected: dict[str, int]) -> None:
    """Wait until that is what `held` says: the last copy may come after the answer to its put."""

    def so() -> bool:
        found = held(namespace, storage_class)
        assert found == expected, found
        return True

    eventually(so, f"{storage_class} is held as {expected}", 30)


def used(namespace: Namespace) -> dict[str, int]:
    """The bytes that are used on each node's volume, as its file system says."""
    return {pod: namespace.node_status("photos", pod)["usedBytes"] for pod in pods(namespace)}


def body(number: int) -> bytes:
    """The bytes of an object."""
    return random.Random(number).randbytes(SIZE)


def in_parts(s3: Any, key: str) -> bytes:
    """Upload an object of class ARCHIVE in two parts; its bytes."""
    data = random.Random(key).randbytes(PART + SIZE)
    upload = s3.create_multipart_upload(Bucket="kept", Key=key, StorageClass="ARCHIVE")["UploadId"]
    parts = []
    for number, part in enumerate((data[:PART], data[PART:]), start=1):
        tag = s3.upload_part(Bucket="kept", Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    s3.complete_multipart_upload(Bucket="kept", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    return data


def test_the_bytes_of_a_class_are_in_its_pool_alone(namespace: Namespace) -> None:
    """By what the nodes say and by their disks; any node answers for any object, its record being anywhere."""
    two_pools(namespace)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    empty = used(namespace)
    archived: dict[str, bytes] = {"empty": b""}
    for number in range(OBJECTS):
        archived[f"a{number}"] = body(number)
    for key, data in archived.items():
        s3.put_object(Bucket="kept", Key=key, Body=data, StorageClass="ARCHIVE")
    archived["parts"] = in_parts(s3, "parts")
    size = sum(map(len, archived.values()))
    holds(namespace, "ARCHIVE", {"archive": NODES * size})
    assert held(namespace, "STANDARD") == {}
    grown = {pod: after - empty[pod] for pod, after in used(namespace).items()}
    print(f"{size} bytes of ARCHIVE; the disks have grown by {grown}")  # noqa: T201 (shown with -s)
    for pod, more in grown.items():
        assert more >= size if pod.startswith("archive-") else more < size / 4

    s3.put_object(Bucket="kept", Key="standard", Body=body(1))
    holds(namespace, "STANDARD", {"photos": NODES * SIZE})
    s3.put_object(Bucket="kept", Key="films/1", Body=body(2))
    holds(namespace, "STANDARD", {"photos": NODES * SIZE, "archive": NODES * SIZE})

    for pod in sorted(pods(namespace)):
        client = namespace.s3("photos", pod=pod)
        for key, data in archived.items():
            answer = client.get_object(Bucket="kept", Key=key)
            assert (answer["StorageClass"], answer["Body"].read()) == ("ARCHIVE", data)
        middle = client.get_object(Bucket="kept", Key="parts", Range=f"bytes={PART - 9}-{PART + 9}")["Body"].read()
        assert middle == archived["parts"][PART - 9 : PART + 10]
        assert client.get_object(Bucket="kept", Key="films/1")["Body"].read() == body(2)
        assert len(client.list_objects_v2(Bucket="kept")["Contents"]) == len(archived) + 2


def test_a_class_is_bound_elsewhere_under_clients(namespace: Namespace) -> None:
    """Its bytes follow, to the last one, and back again; then its old pool may be deleted."""
    two_pools(namespace)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    for number in range(OBJECTS):
        s3.put_object(Bucket="kept", Key=f"a{number}", Body=body(number), StorageClass="ARCHIVE")
    parts = in_parts(s3, "parts")
    with clients_at_work(namespace, seed=31, classes=CLASSES) as ledger:
        for pool in ("photos", "archive", "photos"):
            began = time.monotonic()
            namespace.patch("cloud", "photos", {"spec": {"storageClasses": classes(pool)}})
            all_in(namespace, pool)
            namespace.wait_settled("photos", f"{2 * NODES}/{2 * NODES}")
            print(f"to {pool} in {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
            goes_on(ledger)
        namespace.kubectl("delete", "storagenode", "archive", "--wait=false")

        def says_who_names_it() -> bool:
            found = {c["type"]: c for c in namespace.get("storagenode", "archive")["status"]["conditions"]}
            return "pins to the pool archive" in found["Ready"]["message"]

        eventually(says_who_names_it, "the pool says that a rule names it", 60)
        namespace.patch("cloud", "photos", {"spec": {"assignmentRules": []}})
        namespace.wait_settled("photos", f"{NODES}/{NODES}")
    assert {pod.rpartition("-")[0] for pod in pods(namespace)} == {"photos"}
    for number in range(OBJECTS):
        assert s3.get_object(Bucket="kept", Key=f"a{number}")["Body"].read() == body(number)
    assert s3.get_object(Bucket="kept", Key="parts")["Body"].read() == parts


def test_a_class_keeps_its_copies_while_its_pool_changes(namespace: Namespace) -> None:
    """A node is killed, one more comes, it goes again; fewer than there are copies are refused."""
    two_pools(namespace)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    for number in range(OBJECTS):
        s3.put_object(Bucket="kept", Key=f"a{number}", Body=body(number), StorageClass="ARCHIVE")
    pool = "storagenode/archive"
    with clients_at_work(namespace, seed=32, classes=CLASSES) as ledger:
        namespace.kubectl("delete", "pod", "archive-1", "--grace-period=0", "--force")
        goes_on(ledger)
        eventually(lambda: is_ready(namespace.get("pod", "archive-1")), "archive-1 is back", 150)
        namespace.wait_ready("photos", 120)

        scale(namespace, NODES + 1, pool)
        namespace.wait_settled("photos", f"{2 * NODES + 1}/{2 * NODES + 1}")
        newest = namespace.node_status("photos", f"archive-{NODES}")["classes"]
        assert newest["ARCHIVE"]["bytes"] > SIZE
        assert set(held(namespace, "STANDARD")) == {"photos"}

        scale(namespace, NODES, pool)
        namespace.wait_settled("photos", f"{2 * NODES}/{2 * NODES}")
        assert f"archive-{NODES}" not in pods(namespace)

        scale(namespace, NODES - 1, pool)
        told = blocked(namespace, "TooFewNodes")["message"]
        assert "there are 3 copies of what storage class ARCHIVE keeps in archive, and 2 nodes of it would stay" in told
        goes_on(ledger)
        scale(namespace, NODES, pool)
        namespace.wait_settled("photos", f"{2 * NODES}/{2 * NODES}")
    all_in(namespace, "archive")
    for number in range(OBJECTS):
        assert s3.get_object(Bucket="kept", Key=f"a{number}")["Body"].read() == body(number)


def test_any_edits_and_deaths_while_classes_are_bound(namespace: Namespace) -> None:
    """A class is bound here, there and nowhere, a pool grows and shrinks, operator and nodes die, all at random."""
    chance = random.Random(SEED)
    two_pools(namespace, "2Gi")  # the bytes of what is replaced and deleted stay for a while
    operator = namespace.operators[0]
    done: list[str] = []
    steps: list[str] = []
    with clients_at_work(namespace, seed=SEED, classes=CLASSES):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            steps = steps or chance.sample(STEPS, len(STEPS))
            step = steps.pop()
            if step == "bind":
                step = chance.choice(("photos", "archive", "nowhere"))
                namespace.patch("cloud", "photos", {"spec": {"storageClasses": classes(step)}})
            elif step == "scale":
                scale(namespace, chance.randrange(NODES, NODES + 2), "storagenode/archive")
            elif step == "operator":
                operator.kill()
                operator = namespace.operator()
            elif step == "pod":
                step = chance.choice(sorted(pods(namespace)))
                namespace.kubectl("delete", "pod", step, "--grace-period=0", "--force", "--ignore-not-found")
            done.append(step)
            time.sleep(chance.uniform(1, 8))
        scale(namespace, NODES, "storagenode/archive")
        namespace.patch("cloud", "photos", {"spec": {"storageClasses": classes("photos")}})
        namespace.wait_settled("photos", f"{2 * NODES}/{2 * NODES}", 400)
    print(f"{done}, {namespace.map('photos')['epoch']} epochs")  # noqa: T201 (shown with -s)
    moln(namespace, "rewrite")  # what was written while the class was bound to no pool
    all_in(namespace, "photos")


def test_a_pool_whose_nodes_have_yet_to_come_is_told(namespace: Namespace) -> None:
    """One node becomes two of two pools: Accepted says until when a class's bytes are not where it asks for."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_settled("photos", "1/1")
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="before", Body=body(0))
    nowhere: Manifest = {"nodeSelector": {"moln.dev/nowhere": "yes"}}
    namespace.apply(a_pool("archive", **nowhere), a_cloud("photos", storageClasses=classes("archive")))

    def says_so() -> bool:
        accepted = namespace.condition("photos", "Accepted")
        assert accepted.get("reason") == "PoolsAreEmpty", accepted
        return "storage class ARCHIVE: in archive there are no nodes yet" in accepted["message"]

    eventually(says_so, "Accepted says that the pool is empty", 60)
    s3.put_object(Bucket="kept", Key="early", Body=body(1), StorageClass="ARCHIVE")
    namespace.patch("storagenode", "archive", {"spec": {"nodeSelector": None}})
    namespace.wait_settled("photos", "2/2")
    assert namespace.condition("photos", "Accepted")["reason"] == "Valid"
    s3.put_object(Bucket="kept", Key="late", Body=body(2), StorageClass="ARCHIVE")
    for pod in sorted(pods(namespace)):
        client = namespace.s3("photos", pod=pod)
        for number, key in enumerate(("before", "early", "late")):
            assert client.get_object(Bucket="kept", Key=key)["Body"].read() == body(number)
    holds(namespace, "ARCHIVE", {"archive": 2 * SIZE, "photos": SIZE})  # one is with its record, on both
    moln(namespace, "rewrite")
    assert held(namespace, "ARCHIVE") == {"archive": 2 * SIZE}
    assert s3.get_object(Bucket="kept", Key="early")["Body"].read() == body(1)
