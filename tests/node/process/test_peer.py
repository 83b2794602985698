"""Port 9001 of a real node: its door, health, what is pushed to it, maintenance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from tests.node.process.harness import CLOUD_SECRET, cloud_map, credentials, wait_until

from moln_spec.cloudsecret import fingerprint

if TYPE_CHECKING:
    from tests.node.process.harness import Node, Nodes


@pytest.mark.parametrize("secret", [None, "", "wrong", CLOUD_SECRET + "x", CLOUD_SECRET[:-1], "ü"])
def test_without_the_secret_nothing_is_told_or_taken(shared_node: Node, secret: str | None) -> None:
    """Everything but health and metrics wants the cloud secret, also what does not exist."""
    encoded = secret.encode().decode("latin-1") if secret is not None else None
    for method, path in (("GET", "/v1/status"), ("GET", "/v1/map"), ("GET", "/v1/nothing"), ("POST", "/v1/tasks")):
        assert shared_node.call(method, path, secret=encoded)[0] == 401
    assert shared_node.call("PUT", "/v1/map", cloud_map(2), secret=encoded)[0] == 401
    assert shared_node.call("PUT", "/v1/credentials", credentials(), secret=encoded)[0] == 401
    assert shared_node.call("GET", "/v1/map")[1]["epoch"] in (1, 3)


def test_a_replaced_secret_holds_without_restart_and_the_old_one_for_its_grace(nodes: Nodes, node: Node) -> None:
    """A rotated secret is noticed; a second line is accepted until it is removed."""
    nodes.write("secret", f"new-secret\n{CLOUD_SECRET}\n")
    assert node.call("GET", "/v1/status", secret="new-secret")[0] == 200
    assert node.call("GET", "/v1/status")[0] == 200
    nodes.write("secret", "new-secret\n")
    wait_until("the old secret is refused", lambda: node.call("GET", "/v1/map")[0] == 401)
    assert node.call("GET", "/v1/status", secret="new-secret")[0] == 200


def test_the_status_says_which_secrets_are_in_force_and_an_empty_file_changes_nothing(nodes: Nodes, node: Node) -> None:
    """By fingerprint, the one that is sent first; so the operator knows when to take the next step of a rotation."""
    nodes.write("secret", f"new-secret\n{CLOUD_SECRET}\n")
    expected = [fingerprint("new-secret"), fingerprint(CLOUD_SECRET)]
    assert node.call("GET", "/v1/status")[1]["secrets"] == expected
    nodes.write("secret", "\n")
    assert node.call("GET", "/v1/status", secret="new-secret")[1]["secrets"] == expected


def test_health_is_open_and_names_its_checks(shared_node: Node) -> None:
    """A kubelet without secrets learns whether the node lives and serves."""
    assert shared_node.text("/live")[0] == 200
    status, text = shared_node.text("/ready")
    assert status == 200
    checks = {check["name"]: check["state"] for check in json.loads(text)["checks"]}
    assert checks == dict.fromkeys(
        ("running", "store", "writable", "space", "cluster", "bytes", "map", "credentials"), "ok"
    )


def test_a_newer_map_is_obeyed_at_once_and_after_a_restart(nodes: Nodes, node: Node) -> None:
    """A class that the pushed map adds takes objects without a restart; the map outlives kill -9 and beats the file."""
    s3 = node.client()
    s3.create_bucket(Bucket="bucket")
    with pytest.raises(ClientError, match="InvalidStorageClass"):
        s3.put_object(Bucket="bucket", Key="k", Body=b"x", StorageClass="NEW")
    newer = cloud_map(7, storageClasses=[{"name": "STANDARD", "default": True}, {"name": "NEW"}])
    assert node.call("PUT", "/v1/map", newer) == (200, {"epoch": 7})
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", StorageClass="NEW")
    node.stop(9)
    again = nodes.start()
    assert again.call("GET", "/v1/map")[1]["epoch"] == 7
    assert again.client().head_object(Bucket="bucket", Key="k")["StorageClass"] == "NEW"


@pytest.mark.parametrize(
    ("offered", "status", "says"),
    [
        (cloud_map(5, uid="uid-2"), 409, "uid-2"),
        (cloud_map(5, node="n-9"), 409, "does not name this node"),
        (cloud_map(3, cloud="renamed"), 409, "raise the epoch"),
        (cloud_map(5, partitions=64), 409, "partitions are fixed"),
        ({"epoch": 5}, 400, "uid"),
        ([], 400, ""),
    ],
)
def test_a_map_that_cannot_be_obeyed_is_refused(shared_node: Node, offered: Any, status: int, says: str) -> None:
    """Another cloud's map, one without this node, a second one of the same epoch, nonsense: nothing changes."""
    assert shared_node.call("PUT", "/v1/map", cloud_map(3))[0] == 200
    got, answer = shared_node.call("PUT", "/v1/map", offered)
    assert got == status
    assert says in answer["error"]
    assert shared_node.call("GET", "/v1/map")[1]["epoch"] == 3


def test_an_older_map_changes_nothing(node: Node) -> None:
    """The epoch never goes back, and pushing the same map again is no error."""
    assert node.call("PUT", "/v1/map", cloud_map(4)) == (200, {"epoch": 4})
    assert node.call("PUT", "/v1/map", cloud_map(2)) == (200, {"epoch": 4})
    assert node.call("PUT", "/v1/map", cloud_map(4)) == (200, {"epoch": 4})


def test_pushed_credentials_replace_all_keys_at_once(node: Node) -> None:
    """A new key works with the next request, and one that is absent is refused with the next."""
    node.client().create_bucket(Bucket="bucket")
    assert node.call("PUT", "/v1/credentials", credentials(("NEWKEY", "new-secret-key")))[0] == 200
    assert [b["Name"] for b in node.client("NEWKEY", "new-secret-key").list_buckets()["Buckets"]] == ["bucket"]
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        node.client().list_buckets()


def test_bad_credentials_are_refused_without_showing_them(shared_node: Node) -> None:
    """The keys in force stay, and neither the answer nor the log repeats a secret."""
    bad = {"keys": [{"access_key": "x", "secret_key": "a-secret-of-mine"}]}
    status, answer = shared_node.call("PUT", "/v1/credentials", bad)
    assert status == 400
    assert "keys.0.access_key" in answer["error"]
    assert "a-secret-of-mine" not in answer["error"] + shared_node.log()
    shared_node.client().list_buckets()


def test_without_a_key_the_node_is_not_ready(node: Node) -> None:
    """A node that refuses everybody says so, rather than taking traffic."""
    assert node.call("PUT", "/v1/credentials", {"keys": []})[0] == 200
    status, text = node.text("/ready")
    assert status == 503
    assert "push credentials" in text


def test_status_counts_what_was_written(node: Node) -> None:
    """Objects and bytes by class, and the volume."""
    s3 = node.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="warm", Body=b"x" * 1000)
    s3.put_object(Bucket="bucket", Key="cold", Body=b"x" * 500, StorageClass="COLD")
    status = node.call("GET", "/v1/status")[1]
    assert (status["node"], status["cloud"], status["epoch"], status["ready"]) == ("n-0", "test", 1, True)
    assert status["classes"] == {"STANDARD": {"objects": 1, "bytes": 1000}, "COLD": {"objects": 1, "bytes": 500}}
    assert (status["objects"], status["bytes"]) == (2, 1500)
    assert status["capacityBytes"] == status["usedBytes"] + status["freeBytes"] > 0


def test_explain_tells_the_class_and_why(node: Node) -> None:
    """The same rules that a write obeys, asked without writing."""
    rules = [{"name": "logs", "match": {"suffix": ".log"}, "storageClass": "COLD"}]
    assert node.call("PUT", "/v1/map", cloud_map(2, assignmentRules=rules))[0] == 200
    status, answer = node.call("POST", "/v1/explain", {"bucket": "bucket", "key": "a.log"})
    assert (status, answer["storageClass"], answer["reason"]) == (200, "COLD", "logs matches")
    assert node.call("POST", "/v1/explain", {"bucket": "bucket", "key": "k", "requestedClass": "NONE"})[0] == 404


def test_maintenance_runs_and_tells_its_progress(node: Node) -> None:
    """Each kind that the capabilities name can be started, watched to its end, and finds nothing wrong."""
    s3 = node.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 200_000)
    kinds = node.call("GET", "/v1/capabilities")[1]["tasks"]
    assert sorted(kinds) == ["collect", "orphans", "reassign", "repair", "rewrite", "scrub", "verify"]
    for kind in kinds:
        status, task = node.call("POST", "/v1/tasks", {"kind": kind, "bucket": "bucket", "key": "k"})
        assert status == 202
        wait_until(f"{kind} ends", lambda task=task: _task(node, task["id"])["state"] != "running")  # type: ignore[misc]
        ended = _task(node, task["id"])
        assert (ended["state"], ended["error"], ended["findings"]) == ("done", "", [])
    assert _named(node, "verify")["progress"] == {"bytes": 200_000, "bad": 0}
    assert _named(node, "scrub")["progress"]["bad"] == 0
    assert len(node.call("GET", "/v1/tasks")[1]["tasks"]) == len(kinds)


def test_a_task_that_fails_says_why(shared_node: Node) -> None:
    """Verifying what is not there fails as a task; unknown tasks and kinds are errors of the call."""
    task = shared_node.call("POST", "/v1/tasks", {"kind": "verify", "bucket": "none", "key": "k"})[1]
    wait_until("verify ends", lambda: _task(shared_node, task["id"])["state"] != "running")
    assert "NoSuchBucketError" in _task(shared_node, task["id"])["error"]
    assert shared_node.call("GET", "/v1/tasks/none")[0] == 404
    assert shared_node.call("POST", "/v1/tasks", {"kind": "format"})[0] == 400


def test_unknown_paths_and_methods_are_json_errors(shared_node: Node) -> None:
    """Whoever mistypes a call reads a sentence."""
    assert shared_node.call("GET", "/v1/nothing") == (404, {"error": "Not Found"})
    assert shared_node.call("DELETE", "/v1/map") == (405, {"error": "Method Not Allowed"})


def _task(node: Node, task_id: str) -> dict[str, Any]:
    return node.call("GET", f"/v1/tasks/{task_id}")[1]


def _named(node: Node, kind: str) -> dict[str, Any]:
    tasks = node.call("GET", "/v1/tasks")[1]["tasks"]
    found: dict[str, Any] = next(task for task in tasks if task["request"]["kind"] == kind)
    return found
