"""Secrets and certificates that change while clients are at work: nobody fails, and the status says what goes on."""

from __future__ import annotations

import base64
import json
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from tests.certificates import Pair
from tests.e2e.cluster import Namespace, a_cloud, eventually
from tests.e2e.story import clients_at_work, goes_on, paused, pods, reasons, says
from tests.e2e.test_tls import secret

from moln_spec.cloudsecret import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab

NEW = "a-secret-of-my-own-choice"


def given(namespace: Namespace) -> list[str]:
    """The cloud secrets that nodes were given."""
    return namespace.secret("photos-credentials")["cloud-secret"].split()


def rotated(namespace: Namespace, wanted: str) -> None:
    """Wait until every node says that it has this secret and no other."""
    eventually(lambda: given(namespace) == [wanted], "the new secret alone is in force", 90)
    for name in sorted(pods(namespace)):
        eventually(partial(_has, namespace, name, wanted), f"{name} has it")


def _has(namespace: Namespace, pod: str, wanted: str) -> bool:
    return bool(namespace.node_status("photos", pod)["secrets"] == [fingerprint(wanted)])


def test_the_secret_of_port_9001_changes_under_clients(namespace: Namespace) -> None:
    """Edited with the operator killed in the midst, deleted, and edited while a node is away, which is waited for."""
    operator = namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    with clients_at_work(namespace, seed=21) as ledger:
        goes_on(ledger)
        began = time.monotonic()
        namespace.patch("secret", "photos-cluster", {"stringData": {"secret": NEW}})
        eventually(lambda: NEW in given(namespace), "all come to accept both", 60)
        operator.kill()
        goes_on(ledger)
        namespace.operator()
        rotated(namespace, NEW)
        print(f"an edit, with a dead operator: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        namespace.wait_ready("photos")

        began = time.monotonic()
        namespace.kubectl("delete", "secret", "photos-cluster")
        eventually(lambda: namespace.secret("photos-cluster")["secret"] != NEW, "there is a new one")
        rotated(namespace, namespace.secret("photos-cluster")["secret"])
        print(f"a deletion: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        goes_on(ledger)
        assert not [kind for kind in ledger.counts if kind.startswith("error")], ledger.counts
        assert "SecretRotates" in reasons(namespace)

        second = given(namespace)[0]
        with paused(namespace, "photos-2"):
            namespace.patch("secret", "photos-cluster", {"stringData": {"secret": NEW}})

            def waits() -> bool:
                said = namespace.condition("photos", "Progressing")
                assert (said["reason"], "photos-2 does not answer" in said["message"]) == ("SecretRotates", True), said
                return True

            eventually(waits, "the status says who is waited for")
            goes_on(ledger)
            assert given(namespace) == [second, NEW]
        rotated(namespace, NEW)
        goes_on(ledger)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # each client goes to a node by its address
def test_the_certificate_is_renewed_under_clients(namespace: Namespace, tmp_path: Path) -> None:
    """A pair that does not fit is refused with a sentence, and the one of before goes on; a new one takes seconds."""
    namespace.operator()
    dns = f"photos.{namespace.name}.svc"
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", dns)
    before = pair.renew()
    namespace.apply(secret(pair), a_cloud("photos", nodes={"replicas": 3}, tls={"secretName": "cert"}))
    namespace.wait_ready("photos", 150)
    addresses = [namespace.get("pod", name)["status"]["podIP"] for name in sorted(pods(namespace))]

    def served() -> set[int]:
        found = [ssl.get_server_certificate((address, 9000), timeout=10) for address in addresses]
        return {x509.load_pem_x509_certificate(text.encode()).serial_number for text in found}

    with clients_at_work(namespace, seed=22) as ledger:
        goes_on(ledger)
        key = pair.key.read_bytes()
        renewed = pair.renew()
        fitting = pair.key.read_bytes()
        pair.key.write_bytes(key)
        namespace.apply(secret(pair))
        said = says(namespace, "photos", "Degraded", "SecretUnreadable")
        assert "tls.key is not the key of the certificate" in said["message"]
        goes_on(ledger)
        assert served() == {before}
        pair.key.write_bytes(fitting)
        began = time.monotonic()
        namespace.apply(secret(pair))
        eventually(lambda: served() == {renewed}, "the new certificate is served by all")
        print(f"a renewal: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        goes_on(ledger)
        says(namespace, "photos", "Degraded", "AsExpected")
        assert not [kind for kind in ledger.counts if kind.startswith("error")], ledger.counts


MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
ANOTHER = {"access_key": "CAMERA2", "secret_key": "camera-secret-2"}


def test_keys_change_under_clients(namespace: Namespace) -> None:
    """An access key is replaced, with a grace for the old one, and a master key, which still opens what it sealed."""
    namespace.operator()
    camera = {"access_key": "CAMERA1", "secret_key": "camera-secret-1"}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "camera"}, "stringData": camera},
        a_cloud("photos", nodes={"replicas": 3}, accessKeys=[{"secretName": "camera"}], keyGraceSeconds=20),
    )
    namespace.wait_ready("photos", 150)
    nodes = sorted(pods(namespace))
    with clients_at_work(namespace, seed=23) as ledger:
        goes_on(ledger)
        began = time.monotonic()
        namespace.patch("secret", "camera", {"stringData": ANOTHER})
        for node in nodes:
            eventually(partial(_works, namespace, node, ANOTHER), f"{node} takes the new access key", 30)
        print(f"an access key: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        assert _works(namespace, nodes[0], camera), "the old one has its grace"
        eventually(lambda: not any(_works(namespace, node, camera) for node in nodes), "the old one ends", 60)
        assert all(_works(namespace, node, ANOTHER) for node in nodes)

        s3 = namespace.s3("photos")
        put = partial(s3.put_object, Bucket="ledger", ServerSideEncryption="AES256")
        put(Key="sealed", Body=b"by the first")
        namespace.patch("secret", "photos-master-keys", {"stringData": {"second": MASTER_KEY}})
        for node in nodes:
            eventually(partial(_seals, namespace, node), f"{node} has the second master key")
        namespace.patch("secret", "photos-master-keys", {"stringData": {"active": "second"}})
        eventually(lambda: _active(namespace) == "second", "nodes are given it as the active one")
        goes_on(ledger)
        put(Key="later", Body=b"by the second")
        for node in nodes:
            for key, body in (("sealed", b"by the first"), ("later", b"by the second")):
                assert namespace.s3("photos", pod=node).get_object(Bucket="ledger", Key=key)["Body"].read() == body
        for key in ("sealed", "later"):
            s3.delete_object(Bucket="ledger", Key=key)
        goes_on(ledger)
        assert not [kind for kind in ledger.counts if kind.startswith("error")], ledger.counts


def _works(namespace: Namespace, pod: str, pair: dict[str, str]) -> bool:
    """Whether a node takes an access key."""
    try:
        namespace.s3("photos", pair, pod).list_buckets()
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidAccessKeyId", error  # noqa: PT017 (any other word is wrong)
        return False
    return True


def _active(namespace: Namespace) -> str:
    """The master key that nodes were told to encrypt under."""
    given = json.loads(namespace.secret("photos-credentials")["credentials.json"])
    return str(given["master_keys"][0]["id"])


def _seals(namespace: Namespace, pod: str) -> bool:
    """Whether a node encrypts under the second master key."""
    try:
        namespace.s3("photos", pod=pod).put_object(
            Bucket="ledger", Key="sealed-2", Body=b"-", ServerSideEncryption="aws:kms", SSEKMSKeyId="second"
        )
    except ClientError:
        return False
    namespace.s3("photos", pod=pod).delete_object(Bucket="ledger", Key="sealed-2")
    return True


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # each client goes to a node by its address
def test_tls_is_switched_on_and_off_on_a_running_cloud(namespace: Namespace, tmp_path: Path) -> None:
    """Nodes restart one at a time, each with what it is asked for now; clients of either find a majority all the time.

    Port 9001 follows: it answers both until every node can do without plain HTTP, and the same on the way back. The
    operator is killed on the way.
    """
    operator = namespace.operator()
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", f"photos.{namespace.name}.svc")
    pair.renew()
    namespace.apply(secret(pair), a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="plain", Body=b"by http")
    with clients_at_work(namespace, seed=24) as ledger:
        goes_on(ledger)
        began = time.monotonic()
        namespace.patch("cloud", "photos", {"spec": {"tls": {"secretName": "cert"}}})
        eventually(lambda: namespace.secret("photos-peers")["mode"] != "off", "nodes come to answer both", 60)
        operator.kill()
        goes_on(ledger)
        namespace.operator()
        namespace.wait_settled("photos", "3/3")
        print(f"to TLS: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        for name in sorted(pods(namespace)):
            s3 = namespace.s3("photos", pod=name, scheme="https")
            assert s3.get_object(Bucket="kept", Key="plain")["Body"].read() == b"by http"
            assert namespace.peer("photos", name, "/v1/status")[0] == 400
        s3.put_object(Bucket="kept", Key="sealed", Body=b"by https")
        assert namespace.get("cloud", "photos")["status"]["endpoint"].startswith("https://")
        goes_on(ledger)
        began, restarted = time.monotonic(), _uids(namespace)
        namespace.patch("cloud", "photos", {"spec": {"tls": None}})
        namespace.wait_settled("photos", "3/3")
        print(f"and back: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        assert not restarted & _uids(namespace)
        for name in sorted(pods(namespace)):
            assert (
                namespace.s3("photos", pod=name).get_object(Bucket="kept", Key="sealed")["Body"].read() == b"by https"
            )
            assert namespace.peer("photos", name, "/v1/status")[0] == 200
        goes_on(ledger)
        # a node that stops may break a connection; that too few owners answer is never said
        assert not [kind for kind in ledger.counts if kind in ("error ServiceUnavailable", "error InternalError")]


def _uids(namespace: Namespace) -> set[str]:
    return {pod["metadata"]["uid"] for pod in namespace.list("pods", "moln.dev/cloud=photos")}
