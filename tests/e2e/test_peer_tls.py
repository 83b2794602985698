"""Port 9001 of a Cloud with TLS, on the lab: who comes in, and certificates that change while clients are at work."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.certificates import Authority, Pair
from tests.e2e.cluster import Namespace, a_cloud, eventually
from tests.e2e.story import clients_at_work, goes_on, moln, paused, pods, reasons
from tests.e2e.test_tls import secret

from moln_spec.peertls import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.lab,
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),  # S3 clients go to a node by its address
]


@pytest.fixture
def cloud(namespace: Namespace, tmp_path: Path) -> Namespace:
    """A Cloud of three nodes that asks for TLS from the beginning."""
    namespace.operator()
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key", f"photos.{namespace.name}.svc")
    pair.renew()
    namespace.apply(secret(pair), a_cloud("photos", nodes={"replicas": 3}, tls={"secretName": "cert"}))
    namespace.wait_settled("photos", "3/3")
    return namespace


def test_port_9001_knows_its_own(cloud: Namespace) -> None:
    """Objects go over all nodes; members ask by certificate and secret, probes by neither, strangers for nothing."""
    names = sorted(pods(cloud))
    for name in names:
        s3 = cloud.s3("photos", pod=name, scheme="https")
        if name == names[0]:
            s3.create_bucket(Bucket="pics")
        s3.put_object(Bucket="pics", Key=f"of-{name}", Body=name.encode() * 50_000)
    for name in names:
        s3 = cloud.s3("photos", pod=name, scheme="https")
        for other in names:
            assert s3.get_object(Bucket="pics", Key=f"of-{other}")["Body"].read() == other.encode() * 50_000
    own, nothing = cloud.peer_tls("photos"), cloud.peer_tls("photos", nothing=True)
    foreign = cloud.peer_tls("photos", Authority().issue())
    for name in names:
        assert cloud.peer("photos", name, "/v1/status", tls=own)[0] == 200
        assert cloud.peer("photos", name, "/v1/status", tls=own, secret=False)[0] == 401
        assert cloud.peer("photos", name, "/v1/status", tls=nothing)[0] == 403
        assert cloud.peer("photos", name, "/metrics", tls=nothing, secret=False)[0] == 200
        for path in ("/v1/status", "/v1/map", "/ready", "/metrics"):
            assert cloud.peer("photos", name, path)[0] == 400
        with pytest.raises(OSError, match=r"alert|reset|EOF|closed|aborted"):
            cloud.peer("photos", name, "/v1/status", tls=foreign)
        assert "moln_peer_requests_total" in cloud.peer("photos", name, "/metrics", tls=own)[1]

    def says_why() -> bool:  # a node tells of one such connection a second: it may have been another one's turn
        with pytest.raises(OSError, match=r"alert|reset|EOF|closed|aborted"):
            cloud.peer("photos", names[0], "/v1/status", tls=foreign)
        return "certificate verify failed" in cloud.kubectl("logs", names[0])

    eventually(says_why, "the node says why it turned a stranger away")
    assert "PRIVATE" not in cloud.kubectl("logs", names[0]) + cloud.operators[0].log.read_text()

    def has_all() -> bool:
        nodes = moln(cloud, "status", "photos")["nodes"]
        assert [(node["name"], node["ready"], node["objects"]) for node in nodes] == [(n, True, 3) for n in names], (
            nodes
        )
        return True

    eventually(has_all, "every node says that it has all three")
    found = moln(cloud, "where", "s3://pics/of-photos-1", "--cloud", "photos")
    assert [copy["answers"] for copy in found["copies"]] == [True] * 3
    moln(cloud, "repair", "photos", "--dry-run")


def test_certificates_change_under_clients(cloud: Namespace) -> None:
    """Another authority, and a certificate anew: no request fails. A node that is away is waited for."""
    first = cloud.secret("photos-peers")["ca.crt"]
    with clients_at_work(cloud, seed=25) as ledger:
        goes_on(ledger)
        began = time.monotonic()
        cloud.kubectl("delete", "secret", "photos-peers-ca")

        def changed() -> bool:
            trusted = cloud.secret("photos-peers")["ca.crt"]
            return trusted != first and trusted.count("BEGIN") == 1

        eventually(changed, "the new authority alone is trusted", 90)
        settled(cloud)
        print(f"another authority: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        goes_on(ledger)
        assert not [kind for kind in ledger.counts if kind.startswith("error")], ledger.counts
        began, before = time.monotonic(), cloud.secret("photos-peers")["tls.crt"]
        cloud.kubectl("delete", "secret", "photos-peers")
        eventually(lambda: cloud.secret("photos-peers")["tls.crt"] != before, "there is a new certificate")
        settled(cloud)
        print(f"another certificate: {time.monotonic() - began:.0f} s")  # noqa: T201 (shown with -s)
        goes_on(ledger)
        assert not [kind for kind in ledger.counts if kind.startswith("error")], ledger.counts
        with paused(cloud, "photos-2"):
            cloud.kubectl("delete", "secret", "photos-peers-ca")

            def waits() -> bool:
                said = cloud.condition("photos", "Progressing")
                assert (said["reason"], "photos-2 does not answer" in said["message"]) == ("PeersChange", True), said
                return True

            eventually(waits, "the status says who is waited for")
            goes_on(ledger)
            assert cloud.secret("photos-peers")["ca.crt"].count("BEGIN") == 2, "the old authority is trusted, too"
        eventually(lambda: cloud.secret("photos-peers")["ca.crt"].count("BEGIN") == 1, "and then no more", 90)
        settled(cloud)
        goes_on(ledger)
    assert "PeersChange" in reasons(cloud)
    for name in sorted(pods(cloud)):
        assert cloud.peer("photos", name, "/v1/status")[0] == 400


def settled(cloud: Namespace) -> None:
    """Wait until nodes are given the last mode, and every one says that it has it."""
    eventually(lambda: cloud.secret("photos-peers")["mode"] == "require", "TLS is required", 60)
    given = cloud.secret("photos-peers")
    expected = fingerprint(given["mode"], given["ca.crt"], given["tls.crt"])
    for name in sorted(pods(cloud)):
        eventually(partial(has, cloud, name, expected), f"{name} has it", 60)


def has(cloud: Namespace, pod: str, expected: str) -> bool:
    """Whether a node says that it has these files."""
    return bool(cloud.node_status("photos", pod)["peerTls"] == expected)
