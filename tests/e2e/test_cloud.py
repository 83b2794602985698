"""A Cloud's life on a real Kubernetes, each test named after what a user does or what goes wrong."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from tests.e2e.cluster import a_cloud, eventually

if TYPE_CHECKING:
    from tests.e2e.cluster import Namespace, Operator

pytestmark = pytest.mark.lab

SECONDS_TO_REACH_NODES = 30
"""Some, on a quiet machine."""


def refused(s3: Any) -> bool:
    """Whether the cloud refuses this client's key."""
    try:
        s3.list_buckets()
    except ClientError as error:
        return error.response["Error"]["Code"] in ("InvalidAccessKeyId", "SignatureDoesNotMatch")
    return False


def wait_for_three_looks_without_a_write(operator: Operator) -> None:
    """Until the cloud is settled: what is ready may still have parts of its status to be written."""

    def a_quiet_while() -> bool:
        before, looks = operator.writes(), operator.looks()
        eventually(lambda: operator.looks() >= looks + 3, "three more looks", 40)
        return operator.writes() == before

    eventually(a_quiet_while, "three looks without a write", 120)


def test_apply_a_cloud_and_use_it(namespace: Namespace) -> None:
    """The main job: a Cloud is applied, becomes Ready, and boto3 uses it; the status tells what there is."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="hello")
    s3.put_object(Bucket="hello", Key="a", Body=b"x" * 300_000)
    assert s3.get_object(Bucket="hello", Key="a")["Body"].read() == b"x" * 300_000
    status = eventually(
        lambda: (found := namespace.get("cloud", "photos")["status"])["usage"]["objects"] == 1 and found,
        "the status counts the object",
    )
    assert status["endpoint"] == f"http://photos.{namespace.name}.svc:9000"
    assert status["nodes"] == {"desired": 1, "current": 1, "ready": 1, "summary": "1/1"}
    assert status["map"]["epoch"] == status["map"]["acknowledged"] > 0
    assert status["usage"]["capacity"].endswith("Mi")
    table = namespace.kubectl("get", "clouds").splitlines()
    assert table[0].split() == ["NAME", "READY", "STATE", "NODES", "USED", "CAPACITY", "OBJECTS", "AGE"]
    assert table[1].split()[:4] == ["photos", "True", "AllNodesReady", "1/1"]
    reasons = {event["reason"] for event in namespace.list("events.events.k8s.io")}
    assert {"Created", "MapPublished", "AllNodesReady"} <= reasons


def test_a_settled_cloud_causes_no_writes(namespace: Namespace) -> None:
    """Looks at a cloud that is as it should be read, and write nothing."""
    operator = namespace.operator(poll_seconds=1)
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    wait_for_three_looks_without_a_write(operator)


def test_a_restarted_operator_changes_nothing(namespace: Namespace) -> None:
    """After a restart every child is applied again, and the API server finds nothing to change."""
    first = namespace.operator(poll_seconds=1)
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    wait_for_three_looks_without_a_write(first)
    first.stop()
    kinds = "statefulsets,services,configmaps,secrets,serviceaccounts,networkpolicies,storagenodes"

    def versions() -> dict[str, str]:
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in namespace.list(kinds, "moln.dev/cloud=photos")
        }

    before = versions()
    second = namespace.operator(poll_seconds=1)
    eventually(lambda: second.looks() >= 2, "two looks of the new operator")
    assert versions() == before


def test_a_rule_edit_reaches_the_nodes_in_seconds_without_a_restart(namespace: Namespace) -> None:
    """An edit of rules and classes is obeyed by running nodes; the status shows the epoch they acknowledged."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    s3, epoch = namespace.s3("photos"), namespace.epoch("photos")
    s3.create_bucket(Bucket="logs")
    pod = namespace.get("pod", "photos-0")
    started = time.monotonic()
    namespace.apply(
        a_cloud(
            "photos",
            storageClasses=[{"name": "STANDARD", "default": True}, {"name": "PACKED"}],
            assignmentRules=[{"match": {"suffix": ".log"}, "storageClass": "PACKED"}],
        )
    )
    eventually(lambda: namespace.epoch("photos") > epoch, "the new epoch is acknowledged", SECONDS_TO_REACH_NODES)
    assert time.monotonic() - started < SECONDS_TO_REACH_NODES
    s3.put_object(Bucket="logs", Key="a.log", Body=b"x")
    assert s3.head_object(Bucket="logs", Key="a.log")["StorageClass"] == "PACKED"
    after = namespace.get("pod", "photos-0")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def test_children_edited_or_deleted_by_hand_come_back(namespace: Namespace) -> None:
    """Whatever is done to them; the administrator's key comes back as it was."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    before, key = namespace.snapshot("photos"), namespace.secret("photos-root")
    namespace.kubectl("delete", "service/photos", "serviceaccount/photos-node", "networkpolicy/photos-nodes")
    namespace.kubectl("delete", "secret/photos-root")
    eventually(lambda: namespace.secret("photos-root") == key, "the key is back", SECONDS_TO_REACH_NODES)
    namespace.kubectl("delete", "secret/photos-credentials", "configmap/photos-map")
    namespace.kubectl("delete", "storagenode/photos")
    namespace.kubectl("label", "service/photos-nodes", "moln.dev/cloud-")
    namespace.patch(
        "statefulset", "photos", {"spec": {"replicas": 0, "template": {"metadata": {"labels": {"x": "y"}}}}}
    )
    eventually(
        lambda: _without(namespace.snapshot("photos"), "x") == before,
        "every child is as before",
        SECONDS_TO_REACH_NODES,
    )
    assert namespace.secret("photos-root") == key
    namespace.wait_ready("photos")
    # somebody's label stays in the template, so the only pod may be replaced just now
    eventually(lambda: namespace.s3("photos").list_buckets(), "it serves")


def _without(snapshot: dict[str, Any], label: str) -> dict[str, Any]:
    """A snapshot without a label of somebody else's: server-side apply leaves it to them."""
    snapshot["StatefulSet/photos"]["spec"]["template"]["metadata"]["labels"].pop(label, None)
    return snapshot


def test_the_map_is_lost_and_found_again(namespace: Namespace) -> None:
    """Its ConfigMap gone while no operator runs, the map that the nodes keep goes on: same cloud, later epoch."""
    first = namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    first.kill()
    epoch = namespace.epoch("photos")
    namespace.kubectl("delete", "configmap/photos-map")
    namespace.operator()
    namespace.apply(a_cloud("photos", limits={"uploadExpiryDays": 3}))
    eventually(lambda: namespace.epoch("photos") > epoch, "a later epoch is acknowledged")
    namespace.wait_ready("photos")


def test_the_root_key_is_rotated_with_a_grace(namespace: Namespace) -> None:
    """A new key in the Secret works in seconds, the old one for the grace and no longer."""
    namespace.operator()
    namespace.apply(a_cloud("photos", keyGraceSeconds=15))
    namespace.wait_ready("photos")
    old = namespace.s3("photos")
    namespace.patch("secret", "photos-root", {"stringData": {"access_key": "NEWKEY", "secret_key": "new-secret-2"}})
    started = time.monotonic()
    new = namespace.s3("photos")
    eventually(new.list_buckets, "the new key works", SECONDS_TO_REACH_NODES)
    assert not refused(old), "the old key still works"
    eventually(lambda: refused(old), "the old key ends", 40)
    assert time.monotonic() - started >= 14


def test_further_keys_come_and_go(namespace: Namespace) -> None:
    """A read-only key from the user's own Secret; a Secret that is missing is told and does no harm."""
    namespace.operator()
    pair = {"access_key": "READER", "secret_key": "reader-secret-1"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "reader"}, "stringData": pair}
    reference = {"secretName": "reader", "role": "read-only"}
    namespace.apply(a_cloud("photos", accessKeys=[reference], keyGraceSeconds=0))
    namespace.wait_ready("photos")
    degraded = namespace.condition("photos", "Degraded")
    assert degraded["reason"] == "SecretUnreadable"
    assert "Secret reader does not exist" in degraded["message"]
    namespace.apply(secret)
    reader = namespace.s3("photos", pair)
    eventually(lambda: not refused(reader), "the new key is known", SECONDS_TO_REACH_NODES)
    with pytest.raises(ClientError) as denied:
        reader.create_bucket(Bucket="mine")
    assert denied.value.response["Error"]["Code"] == "AccessDenied"
    eventually(lambda: namespace.condition("photos", "Degraded")["status"] == "False", "nothing is wrong any more")
    namespace.patch("cloud", "photos", {"spec": {"accessKeys": []}})
    eventually(lambda: refused(reader), "the key is refused", SECONDS_TO_REACH_NODES)


def test_a_paused_cloud_is_left_alone(namespace: Namespace) -> None:
    """While paused nothing is repaired or changed; afterwards everything is."""
    operator = namespace.operator(poll_seconds=1)
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    namespace.patch("cloud", "photos", {"spec": {"paused": True}})
    eventually(lambda: namespace.condition("photos", "Paused").get("status") == "True", "the status says so")
    namespace.kubectl("delete", "service/photos")
    looks = operator.looks()
    eventually(lambda: operator.looks() >= looks + 2, "two more looks", 30)
    assert "photos" not in [service["metadata"]["name"] for service in namespace.list("services")]
    namespace.patch("cloud", "photos", {"spec": {"paused": False}})
    eventually(lambda: namespace.get("service", "photos"), "the Service is back")


def test_a_cloud_deleted_and_applied_again_finds_its_data(namespace: Namespace) -> None:
    """With Retain, volumes, keys and map survive; a Cloud of the same name takes them up, however fast it comes."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    key, s3 = namespace.secret("photos-root"), namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a", Body=b"still here")
    namespace.kubectl("delete", "cloud/photos", "--timeout=60s")
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    assert namespace.secret("photos-root") == key

    def found() -> bytes:  # by the pod that is there now: the old one ends some time after its Cloud
        return bytes(namespace.s3("photos").get_object(Bucket="kept", Key="a")["Body"].read())

    assert eventually(found, "the object is there again") == b"still here"
    owners = {
        owner["uid"]
        for item in namespace.list("statefulsets,services,serviceaccounts", "moln.dev/cloud=photos")
        for owner in item["metadata"]["ownerReferences"]
    }
    assert owners == {namespace.get("cloud", "photos")["metadata"]["uid"]}


def test_deletion_with_delete_leaves_nothing(namespace: Namespace) -> None:
    """Volumes, generated keys and the map go with the Cloud; a Secret that the user wrote stays."""
    namespace.operator()
    mine = {"access_key": "MINE", "secret_key": "my-secret-123"}
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": mine})
    namespace.apply(a_cloud("photos", deletionPolicy="Delete", rootSecretName="mine"))
    namespace.wait_ready("photos")
    namespace.s3("photos", mine).list_buckets()
    namespace.kubectl("delete", "cloud/photos", "--timeout=90s", timeout=100)
    kinds = "statefulsets,pvc,pods,services,configmaps,secrets,storagenodes"
    eventually(lambda: namespace.list(kinds, "moln.dev/cloud=photos") == [], "nothing is left")
    assert namespace.secret("mine") == mine


def test_an_operator_that_dies_in_a_deletion_is_followed_by_one_that_ends_it(namespace: Namespace) -> None:
    """The finalizer holds the Cloud while nobody works, and the next operator finishes."""
    first = namespace.operator()
    namespace.apply(a_cloud("photos", deletionPolicy="Delete"))
    namespace.wait_ready("photos")
    first.kill()
    namespace.kubectl("delete", "cloud/photos", "--wait=false")
    assert namespace.get("cloud", "photos")["metadata"]["finalizers"] == ["moln.dev/delete-data"]
    assert namespace.list("pvc", "moln.dev/cloud=photos") != []
    namespace.operator()
    namespace.kubectl("wait", "--for=delete", "cloud/photos", "--timeout=60s", timeout=70)
    eventually(lambda: namespace.list("pvc", "moln.dev/cloud=photos") == [], "the volumes are gone")


def test_a_namespace_is_deleted_with_a_cloud_in_it(namespace: Namespace) -> None:
    """No finalizer hangs, and the operator does not fight the end."""
    operator = namespace.operator()
    namespace.apply(a_cloud("photos", deletionPolicy="Delete"), a_cloud("films"))
    namespace.wait_ready("photos")
    namespace.wait_ready("films")
    namespace.lab.kubectl("delete", "namespace", namespace.name, "--timeout=90s", timeout=100)
    assert "defect" not in operator.log.read_text()
    namespace.lab.kubectl("create", "namespace", namespace.name)


def test_a_volume_grows_online(namespace: Namespace) -> None:
    """A larger size grows the claim and the file system under the running node."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    pod = namespace.get("pod", "photos-0")["metadata"]["uid"]
    before = namespace.get("cloud", "photos")["status"]["usage"]["capacity"]
    namespace.patch("cloud", "photos", {"spec": {"nodes": {"volume": {"size": "600Mi"}}}})
    eventually(
        lambda: namespace.get("pvc", "data-photos-0")["status"]["capacity"]["storage"] == "600Mi",
        "the claim is larger (the kubelet grows a mounted file system when it next comes by)",
        240,
    )
    eventually(lambda: namespace.get("cloud", "photos")["status"]["usage"]["capacity"] != before, "the status shows it")
    assert namespace.get("pod", "photos-0")["metadata"]["uid"] == pod


def test_contradictions_between_resources_become_conditions(namespace: Namespace) -> None:
    """What CEL can't see is told in the status, and heals when it is corrected."""
    namespace.operator()
    ask = {"apiVersion": "moln.dev/v1alpha1", "kind": "ReplicationPolicy", "metadata": {"name": "three"}}
    namespace.apply({**ask, "spec": {"cloudRef": {"name": "photos"}, "copies": 3}})
    eventually(
        lambda: namespace.condition("three", "Accepted", "replicationpolicy").get("reason") == "NoSuchCloud",
        "the policy has no Cloud",
    )
    namespace.apply(a_cloud("photos", storageClasses=[{"name": "A", "pools": ["fast"]}]))
    accepted = eventually(lambda: namespace.condition("photos", "Accepted"), "the Cloud is judged")
    assert accepted["status"] == "False"
    assert "names the pool fast, which the cloud does not have (it has photos)" in accepted["message"]
    namespace.patch("cloud", "photos", {"spec": {"storageClasses": [{"name": "A"}]}})
    namespace.wait_ready("photos")
    policy = eventually(
        lambda: (
            (found := namespace.condition("three", "Accepted", "replicationpolicy")).get("status") == "True" and found
        ),
        "the policy is accepted",
    )
    assert policy["message"] == "3 copies are asked for, the cloud has 1 node: each object has 1 copy"


def test_a_second_pool_joins_a_running_cloud(namespace: Namespace) -> None:
    """Its node takes copies; with two of each object it can't be taken away again without a word on copies."""
    namespace.operator()
    namespace.apply(a_cloud("photos"))
    namespace.wait_ready("photos")
    pool = {"apiVersion": "moln.dev/v1alpha1", "kind": "StorageNode", "metadata": {"name": "more"}}
    nodes = a_cloud("photos")["spec"]["nodes"]
    namespace.apply({**pool, "spec": {"cloudRef": {"name": "photos"}, **nodes}})
    namespace.wait_settled("photos", "2/2")
    namespace.s3("photos", pod="more-0").list_buckets()
    namespace.kubectl("delete", "storagenode/more", "--wait=false")
    eventually(lambda: namespace.condition("photos", "ScaleDownBlocked")["reason"] == "TooFewNodes", "it is blocked")
    policy = {"apiVersion": "moln.dev/v1alpha1", "kind": "ReplicationPolicy", "metadata": {"name": "one"}}
    namespace.apply({**policy, "spec": {"cloudRef": {"name": "photos"}, "copies": 1}})
    namespace.wait_settled("photos", "1/1")
    assert [item["metadata"]["name"] for item in namespace.list("statefulsets")] == ["photos"]


def test_what_belongs_to_somebody_else_is_left_alone(namespace: Namespace) -> None:
    """A Service that has the Cloud's name already is not taken over; the Cloud says what to do."""
    namespace.operator()
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "photos"}, "spec": {"ports": [{"port": 1}]}}
    namespace.apply(service)
    namespace.apply(a_cloud("photos"))
    accepted = eventually(
        lambda: (found := namespace.condition("photos", "Accepted")).get("status") == "False" and found, "it is refused"
    )
    assert accepted["message"] == "Service photos exists and is not the operator's; rename it or the Cloud"
    assert namespace.get("service", "photos")["spec"]["ports"][0]["port"] == 1
    namespace.kubectl("delete", "service/photos")
    namespace.wait_ready("photos")


def test_two_clouds_in_one_namespace_are_apart(namespace: Namespace) -> None:
    """Each has its keys, its data and its map."""
    namespace.operator()
    namespace.apply(a_cloud("photos"), a_cloud("films"))
    namespace.wait_ready("photos")
    namespace.wait_ready("films")
    namespace.s3("photos").create_bucket(Bucket="only-here")
    assert namespace.s3("films").list_buckets()["Buckets"] == []
    assert refused(namespace.s3("films", namespace.secret("photos-root")))
