"""What Prometheus reads from a real node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families
from tests.certificates import Pair
from tests.node.process.harness import wait_until

from moln_node.peer.figures import OTHERS, largest
from moln_node.store.model import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.samples import Sample
    from tests.node.process.harness import Node, Nodes


def samples(node: Node) -> list[Sample]:
    """Every sample that the node exposes now."""
    return [sample for family in text_string_to_metric_families(node.text("/metrics")[1]) for sample in family.samples]


def value(node: Node, name: str, **labels: str) -> float:
    """The one sample with this name and these labels."""
    found = [s for s in samples(node) if s.name == name and s.labels == {"cloud": "test", **labels}]
    assert len(found) == 1, f"{name}{labels}: {len(found)} samples"
    return float(found[0].value)


def filled(node: Node) -> Any:
    """A bucket with an object in it, read once; the client."""
    s3 = node.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="some-secret-key-name", Body=b"x" * 1000)
    s3.get_object(Bucket="bucket", Key="some-secret-key-name")["Body"].read()
    with pytest.raises(ClientError):
        s3.get_object(Bucket="bucket", Key="absent")
    return s3


def test_requests_and_bytes_are_counted_and_no_key_is_named(node: Node) -> None:
    """Operations, codes, classes and buckets are labels; a key never is. Every sample names the cloud."""
    filled(node)
    assert value(node, "moln_s3_requests_total", code="200", operation="PutObject") == 1
    assert value(node, "moln_s3_requests_total", code="200", operation="GetObject") == 1
    assert value(node, "moln_s3_requests_total", code="404", operation="GetObject") == 1
    assert value(node, "moln_s3_request_seconds_count", operation="GetObject") == 2
    assert value(node, "moln_node_objects", storage_class="STANDARD") == 1
    assert value(node, "moln_node_object_bytes", storage_class="STANDARD") == 1000
    assert value(node, "moln_node_bucket_objects", bucket="bucket") == 1
    assert value(node, "moln_node_bucket_bytes", bucket="bucket") == 1000
    assert value(node, "moln_s3_received_bytes_total") >= 1000
    assert value(node, "moln_s3_sent_bytes_total") >= 1000
    assert value(node, "moln_s3_requests_in_flight") == 0
    assert "some-secret-key-name" not in node.text("/metrics")[1]
    assert {sample.labels.get("cloud") for sample in samples(node)} == {"test"}
    assert not [sample.name for sample in samples(node) if sample.name.endswith("_created")]


def test_calls_on_the_peer_port_are_counted_by_route(node: Node) -> None:
    """A call is known by its route: what a stranger asks for makes no series of its own."""
    node.call("GET", "/v1/status")
    node.call("GET", "/v1/tasks/some-id")
    for path in ("/v1/nothing", "/v1/nothing-else", "/v1/status"):
        node.call("GET", path, secret="wrong")
    assert value(node, "moln_peer_requests_total", call="status", code="200") == 1
    assert value(node, "moln_peer_requests_total", call="status", code="401") == 1
    assert value(node, "moln_peer_requests_total", call="tasks/{id}", code="404") == 1
    assert value(node, "moln_peer_requests_total", call="Unknown", code="401") == 2


def test_gauges_say_how_the_node_is(node: Node) -> None:
    """Ready by its checks; the volume and what is reserved of it; nothing waits for another node."""
    assert value(node, "moln_node_ready") == 1
    assert value(node, "moln_node_check", check="credentials") == 0
    assert value(node, "moln_node_counts") == 1
    assert value(node, "moln_node_hints") == 0
    assert value(node, "moln_node_strays") == 0
    assert value(node, "moln_node_damage_found_total") == 0
    capacity = value(node, "moln_node_volume_capacity_bytes")
    assert value(node, "moln_node_volume_reserve_bytes") == pytest.approx(capacity * 0.02)
    node.call("PUT", "/v1/credentials", {"keys": []})
    assert value(node, "moln_node_ready") == 0
    assert value(node, "moln_node_check", check="credentials") == 2


def test_what_the_store_does_is_counted(node: Node) -> None:
    """Commits and their changes, pages of the index, its files, and a body that is removed once nothing needs it."""
    s3 = filled(node)
    commits, steps = value(node, "moln_node_commits_total"), value(node, "moln_node_commit_steps_total")
    s3.put_object(Bucket="bucket", Key="large", Body=b"x" * 2_000_000)
    assert value(node, "moln_node_commits_total") > commits
    assert value(node, "moln_node_commit_steps_total") > steps
    assert value(node, "moln_node_commit_seconds_total") > 0
    assert value(node, "moln_node_index_bytes") > 0
    assert value(node, "moln_node_index_log_bytes") > 0
    assert value(node, "moln_node_store_waiting", lane="write") == 0
    hits = value(node, "moln_node_index_cache_hits_total")
    s3.get_object(Bucket="bucket", Key="large")["Body"].close()
    assert value(node, "moln_node_index_cache_hits_total") > hits
    assert value(node, "moln_node_index_cache_misses_total") > 0
    collected = value(node, "moln_node_collected_bodies_total")
    s3.delete_object(Bucket="bucket", Key="large")
    wait_until("its body is removed", lambda: value(node, "moln_node_collected_bodies_total") > collected)
    assert value(node, "moln_node_garbage_bodies") == 0


def test_a_replaced_key_that_is_still_used_is_told(node: Node) -> None:
    """By its id, with its end; a key that just stays has no series, and neither has one that is gone."""
    s3 = filled(node)
    mine, end = s3._request_signer._credentials, int(time.time()) + 3600
    old = {"access_key": mine.access_key, "secret_key": mine.secret_key, "policy": "admin", "expires": end}
    new = {"access_key": "newer", "secret_key": "newer-secret-key", "policy": "admin"}
    assert "leaving_key_requests_total{" not in node.text("/metrics")[1]
    node.call("PUT", "/v1/credentials", {"keys": [new, old]})
    assert value(node, "moln_node_leaving_key_expiry_timestamp_seconds", access_key=mine.access_key) == end
    assert value(node, "moln_node_leaving_key_requests_total", access_key=mine.access_key) == 0
    s3.list_buckets()
    assert value(node, "moln_node_leaving_key_requests_total", access_key=mine.access_key) == 1
    node.call("PUT", "/v1/credentials", {"keys": [new, old]})  # as the operator does when another key changes
    assert value(node, "moln_node_leaving_key_requests_total", access_key=mine.access_key) == 1
    node.call("PUT", "/v1/credentials", {"keys": [new]})
    assert "access_key=" not in node.text("/metrics")[1]


def test_maintenance_is_followed(node: Node) -> None:
    """A scrub's counters, bytes apart from numbers, and when it ended."""
    filled(node)
    begun = time.time()
    task = node.call("POST", "/v1/tasks", {"kind": "scrub"})[1]
    wait_until("the scrub", lambda: node.call("GET", f"/v1/tasks/{task['id']}")[1]["state"] == "done")
    assert value(node, "moln_node_scrub_ended_timestamp_seconds") >= begun - 1
    assert value(node, "moln_node_scrub_bytes") >= 1000
    assert [value(node, "moln_node_scrub_copies", state=state) for state in ("bad", "healed", "unhealed")] == [0, 0, 0]
    assert value(node, "moln_node_scrub_unhealed") == 0
    assert value(node, "moln_node_task_running", kind="scrub") == 0
    assert value(node, "moln_node_task_progress", kind="scrub", counter="records") >= 1
    assert value(node, "moln_node_task_progress", kind="scrub", counter="bad") == 0
    assert value(node, "moln_node_task_bytes", kind="scrub") >= 1000
    assert value(node, "moln_node_task_ended_timestamp_seconds", kind="scrub", state="done") >= begun - 1


def test_the_certificates_end_is_told_where_there_is_one(nodes: Nodes, tmp_path: Path) -> None:
    """In seconds since 1970, so that an alert can count the days; a node without TLS has no such gauge."""
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    pair.renew()
    node = nodes.start(tls_certificate=str(pair.chain), tls_key=str(pair.key))
    assert value(node, "moln_node_certificate_expiry_timestamp_seconds") > time.time()
    node.stop()
    assert "certificate_expiry" not in nodes.start().text("/metrics")[1]


def test_only_the_largest_buckets_have_a_name() -> None:
    """The number of series is bounded however many buckets there are, and the sum stays right."""
    usage = {f"b{number}": Usage(1, number) for number in range(10)}
    assert largest(usage, 2) == {"b9": Usage(1, 9), "b8": Usage(1, 8), OTHERS: Usage(8, 28)}
    assert largest(usage, 10) == usage
    assert largest({}) == {}
