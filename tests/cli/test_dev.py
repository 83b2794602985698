"""`moln dev`: the YAML as processes, kept from run to run, edited while it runs, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from tests.cli.harness import CLOUD, DEADLINE, alive, wait_until

from moln.dev.banner import banner

if TYPE_CHECKING:
    from tests.cli.harness import Desk

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parents[2] / "examples/photos-and-archive.yaml"
KEYS = [
    {"access_key": "ALICEKEY", "secret_key": "alice-secret-key", "id": "alice-id", "name": "Alice", "policy": "admin"},
    {"access_key": "READER01", "secret_key": "reader-secret-key", "policy": {"role": "read-only", "buckets": ["p*"]}},
]


def test_it_serves_prints_and_stops_cleanly(desk: Desk) -> None:
    """Endpoint and keys work; SIGTERM ends dev and node with 0 and takes ready file and profile along."""
    dev = desk.start("--data", str(desk.folder / "data"))
    dev.s3().create_bucket(Bucket="photos")
    for text in (dev.endpoint, dev.access_key, dev.secret_key, "aws --endpoint-url", "boto3.client", "rclone lsd"):
        assert text in dev.log()
    assert desk.moln("ls").out.endswith("s3://photos\n")
    assert dev.stop() == 0
    assert not any(alive(pid) for pid in dev.pids)
    assert not (desk.folder / "ready.json").exists()
    assert desk.moln("ls").code == 2


def test_it_says_that_tls_is_not_spoken_here() -> None:
    """The Secret that the YAML names is on Kubernetes."""
    keys: dict[str, Any] = {"access_key": "A", "secret_key": "s", "data": Path("d"), "temporary": False}
    shown = {tls: banner(cloud="c", endpoint="http://h:1", tls=tls, **keys) for tls in (True, False)}
    assert ("plain HTTP" in shown[True], "plain HTTP" in shown[False]) == (True, False)


def test_secrets_are_private(desk: Desk) -> None:
    """Whoever else uses the machine reads neither the keys nor the cloud secret."""
    desk.start("--data", str(desk.folder / "data"))
    data = desk.folder / "data"
    secret = [data / "moln-dev.json", data / "credentials.json", data / "cloud-secret", desk.folder / "ready.json"]
    secret += list((desk.folder / "config").rglob("*.json"))
    assert len(secret) == 5
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}


def test_what_is_encrypted_opens_after_a_restart(desk: Desk) -> None:
    """The cloud's master keys are made once, those of --master-key too, and kept with its other keys."""
    data = str(desk.folder / "data")
    first = desk.start("--data", data)
    first.s3().create_bucket(Bucket="photos")
    first.s3().put_object(Bucket="photos", Key="own", Body=b"kept", ServerSideEncryption="AES256")
    first.stop()
    named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "mine"}
    second = desk.start("--data", data, "--master-key", "mine")
    second.s3().put_object(Bucket="photos", Key="named", Body=b"kept", **named)
    second.stop()
    third = desk.start("--data", data)
    for key in ("own", "named"):
        assert third.s3().get_object(Bucket="photos", Key=key)["Body"].read() == b"kept"


def test_a_restart_has_the_same_keys_and_data(desk: Desk) -> None:
    """A folder is a cloud: identity, keys and objects are there again, after SIGINT as after kill -9."""
    keys = set()
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
        dev = desk.start("--data", str(desk.folder / "data"))
        keys.add((dev.access_key, dev.secret_key))
        s3 = dev.s3()
        if number == signal.SIGINT:
            s3.create_bucket(Bucket="photos")
            s3.put_object(Bucket="photos", Key="k", Body=b"kept")
        assert s3.get_object(Bucket="photos", Key="k")["Body"].read() == b"kept"
        dev.stop(number)
        wait_until("the node ends", lambda pids=dev.pids: not any(map(alive, pids)))  # type: ignore[misc]
    assert len(keys) == 1


def test_kill_9_leaves_no_node_behind(desk: Desk) -> None:
    """Nodes notice that dev is gone, however it went."""
    dev = desk.start("--data", str(desk.folder / "data"))
    assert all(alive(pid) for pid in dev.pids)
    dev.stop(signal.SIGKILL)
    wait_until("the nodes end", lambda: not any(alive(pid) for pid in dev.pids))


def test_a_dying_node_ends_it_with_the_last_log_lines(desk: Desk) -> None:
    """A node that is killed is not missed in silence."""
    dev = desk.start("--data", str(desk.folder / "data"))
    os.kill(dev.pids[0], signal.SIGKILL)
    assert dev.process.wait(DEADLINE) == 1
    assert "node test-0 was killed by signal 9; its last log lines:" in dev.log()
    assert "serves cloud test" in dev.log().rpartition("last log lines")[2]


def test_a_temporary_cloud_is_gone_afterwards(desk: Desk) -> None:
    """Without --data nothing stays."""
    dev = desk.start()
    folder = dev.log().partition("data        ")[2].split(" ")[0]
    assert os.path.isdir(folder)  # noqa: PTH112 (the text that was printed)
    assert dev.stop() == 0
    assert not os.path.exists(folder)  # noqa: PTH110


def test_edits_reach_the_node_while_it_runs(desk: Desk) -> None:
    """A class added to the YAML takes objects seconds later, by a rule; an edit that is wrong changes nothing."""
    dev = desk.start("--data", str(desk.folder / "data"))
    s3 = dev.s3()
    s3.create_bucket(Bucket="photos")
    with pytest.raises(ClientError, match="InvalidStorageClass"):
        s3.put_object(Bucket="photos", Key="k", Body=b"x", StorageClass="TINY")
    yaml = desk.folder / "cloud.yaml"
    yaml.write_text(CLOUD.replace("    - {name: COLD}\n", "    - {name: COLD}\n    - {name: TINY}\n"))
    wait_until("the edit arrives", lambda: "the cloud obeys epoch 2" in dev.log())
    s3.put_object(Bucket="photos", Key="k", Body=b"x", StorageClass="TINY")
    yaml.write_text(CLOUD.replace("storageClass: COLD", "storageClass: NONE"))
    wait_until("the edit is refused", lambda: "edit refused, nothing changed" in dev.log())
    s3.put_object(Bucket="photos", Key="k", Body=b"x", StorageClass="TINY")
    yaml.write_text(CLOUD.replace("name: test", "name: other"))
    wait_until("the edit is refused", lambda: "name cannot change" in dev.log())
    assert dev.process.poll() is None


def test_nodes_come_and_go_as_replicas_are_edited(desk: Desk) -> None:
    """One node becomes three, with every object on each; then one again, in which everything is still there."""
    dev = desk.start("--data", str(desk.folder / "data"))
    s3 = dev.s3()
    s3.create_bucket(Bucket="photos")
    bodies = {f"k{number}": b"%d" % number * 30_000 for number in range(20)}
    for key, body in bodies.items():
        s3.put_object(Bucket="photos", Key=key, Body=body)
    yaml = desk.folder / "cloud.yaml"
    yaml.write_text(CLOUD.replace("replicas: 1", "replicas: 3"))
    wait_until("three nodes own everything", lambda: "owners: test-0, test-1, test-2" in dev.log())
    assert len(json.loads((desk.folder / "ready.json").read_text())["pids"]) == 3
    (found,) = desk.moln("where", "s3://photos/k7", "--json").documents
    assert [copy["versions"] for copy in found["copies"]] == [["null"]] * 3
    policy = "\n---\napiVersion: moln.dev/v1alpha1\nkind: ReplicationPolicy\nmetadata: {name: all}\n"
    yaml.write_text(CLOUD + policy + "spec: {cloudRef: {name: test}, copies: 1}\n")
    wait_until("the others are gone", lambda: len(json.loads((desk.folder / "ready.json").read_text())["pids"]) == 1)
    for key, body in bodies.items():
        assert s3.get_object(Bucket="photos", Key=key)["Body"].read() == body
    assert dev.process.poll() is None


def test_two_pools_run_side_by_side(desk: Desk) -> None:
    """The example of two, with fewer nodes in the default one: the bytes of a bound class are in its pool alone."""
    text = EXAMPLE.read_text()
    (desk.folder / "pools.yaml").write_text(text)
    dev = desk.spawn("--nodes", "1", "--data", str(desk.folder / "data"), yaml="pools.yaml").wait_ready()
    assert len(dev.pids) == 4
    s3 = dev.s3()
    s3.create_bucket(Bucket="backup")
    s3.put_object(Bucket="backup", Key="k", Body=b"kept" * 9)
    (found,) = desk.moln("where", "s3://backup/k", "--json").documents
    assert [copy["node"] for copy in found["copies"]] == ["photos-0"]
    assert (
        dev.endpoint.removeprefix("http://") == json.loads((desk.folder / "data/photos-0.ready.json").read_text())["s3"]
    )
    assert {copy["node"] for copy in found["bytes"]["copies"]} == {"archive-0", "archive-1", "archive-2"}
    (desk.folder / "pools.yaml").write_text(text.replace("pools: [archive]", "pools: [photos]"))
    wait_until("its bytes have moved", lambda: "every key is with its owners" in dev.log())
    (moved,) = desk.moln("where", "s3://backup/k", "--json").documents
    assert [(copy["node"], copy["versions"] != []) for copy in moved["bytes"]["copies"]] == [("photos-0", True)]
    assert s3.get_object(Bucket="backup", Key="k")["Body"].read() == b"kept" * 9


def test_further_access_keys_work_with_their_owner_and_policy(desk: Desk) -> None:
    """--access-keys adds keys; id and name are the owner that S3 shows, and a policy binds."""
    (desk.folder / "keys.json").write_text(json.dumps(KEYS))
    dev = desk.start("--access-keys", str(desk.folder / "keys.json"))
    alice = dev.s3("ALICEKEY", "alice-secret-key")
    alice.create_bucket(Bucket="photos")
    assert alice.list_buckets()["Owner"] == {"ID": "alice-id", "DisplayName": "Alice"}
    with pytest.raises(ClientError, match="AccessDenied"):
        dev.s3("READER01", "reader-secret-key").put_object(Bucket="photos", Key="k", Body=b"x")
    dev.s3().put_object(Bucket="photos", Key="k", Body=b"x")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "Invalid JSON"),
        ('{"access_key": "AB"}', "valid array"),
        ('[{"access_key": "ABCDEF", "secret_key": "short"}]', "0.secret_key"),
        ('[{"access_key": "ABCDEF", "secret_key": "my-long-secret", "policy": "king"}]', "0.policy"),
        (json.dumps([KEYS[0], KEYS[0]]), "more than once"),
    ],
)
def test_a_bad_key_file_is_a_clear_error(desk: Desk, content: str, says: str) -> None:
    """Nothing starts, the place in the file is named, and no secret is shown."""
    (desk.folder / "keys.json").write_text(content)
    result = desk.moln("dev", desk.folder / "cloud.yaml", "--access-keys", desk.folder / "keys.json")
    assert result.code == 2
    assert says in result.err
    assert "keys.json" in result.err
    assert "my-long-secret" not in result.err


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("kind: [", "is not YAML"),
        ("kind: Pod\n", "'Pod'"),
        ("", "0 resources of kind Cloud"),
        (CLOUD + "---\n" + CLOUD, "2 resources of kind Cloud"),
        (CLOUD.replace("replicas: 1", "replicas: 0"), "keeps at least one node"),
        (CLOUD.replace("default: true", "defualt: true"), "defualt"),
        (CLOUD.replace("storageClass: COLD", "storageClass: NONE"), "storageClasses does not have"),
    ],
)
def test_a_bad_cloud_is_a_clear_error(desk: Desk, yaml: str, says: str) -> None:
    """The same sentence that Kubernetes would give, and exit code 2."""
    (desk.folder / "bad.yaml").write_text(yaml)
    result = desk.moln("dev", desk.folder / "bad.yaml", "--data", desk.folder / "data")
    assert result.code == 2
    assert says in result.err
    assert len(result.err.splitlines()) == 1


def test_a_cloud_of_three_runs_as_three_processes_and_stays_three(desk: Desk) -> None:
    """What one run wrote the next reads; fewer nodes than copies are refused, and the three go on."""
    data = str(desk.folder / "data")
    first = desk.start("--nodes", "3", "--data", data)
    assert len(first.pids) == 3
    first.s3().create_bucket(Bucket="three")
    first.s3().put_object(Bucket="three", Key="k", Body=b"kept three times")
    assert first.stop() == 0
    second = desk.start("--nodes", "3", "--data", data)
    assert second.s3().get_object(Bucket="three", Key="k")["Body"].read() == b"kept three times"
    assert second.stop() == 0
    third = desk.start("--nodes", "1", "--data", data)
    wait_until("it says why they stay", lambda: "test-1, test-2 can't leave: there are 3 copies" in third.log())
    assert third.s3().get_object(Bucket="three", Key="k")["Body"].read() == b"kept three times"
    assert third.stop() == 0
    assert "at most 50 nodes" in desk.moln("dev", desk.folder / "cloud.yaml", "--nodes", "51").err


def test_a_port_in_use_and_a_folder_in_use_are_clear_errors(desk: Desk) -> None:
    """The second one says what is taken, and leaves the first alone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        dev = desk.spawn("--port", str(port))
        assert dev.process.wait(DEADLINE) == 1
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in dev.log()
    first = desk.start("--data", str(desk.folder / "data"))
    second = desk.moln("dev", desk.folder / "cloud.yaml", "--data", desk.folder / "data")
    assert second.code == 5
    assert "another `moln dev` uses the folder" in second.err
    first.s3().list_buckets()


def test_a_missing_yaml_is_named(desk: Desk) -> None:
    """What cannot be read is said before anything starts."""
    result = desk.moln("dev", desk.folder / "nothing.yaml")
    assert (result.code, "nothing.yaml" in result.err) == (2, True)
