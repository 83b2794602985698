"""A cloud of three nodes: each of them may be away, and clients go on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cluster import Clients, a_cloud, eventually
from tests.e2e.ledger import Ledger, patiently
from tests.e2e.story import clients_at_work, end, goes_on, pods

if TYPE_CHECKING:
    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab

NODES = 3


def test_three_nodes_serve_while_each_of_them_is_away(namespace: Namespace) -> None:
    """Killed one after the other, then restarted one at a time by an edit: nothing acknowledged is lost."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": NODES}))
    namespace.wait_ready("photos", 150)
    assert namespace.get("cloud", "photos")["status"]["nodes"]["summary"] == "3/3"
    ledger = Ledger(Clients(namespace), seed=3)
    try:
        for ordinal in range(NODES):
            end(namespace, f"photos-{ordinal}")
            namespace.wait_ready("photos", 120)
        before = _started(namespace)
        namespace.patch("cloud", "photos", {"spec": {"nodes": {"resources": {"requests": {"memory": "65Mi"}}}}})
        eventually(lambda: not _started(namespace) & before, "every node was restarted", 240)
        namespace.wait_ready("photos", 120)
    finally:
        ledger.stop()
    objects = ledger.verify()
    print(f"{objects} objects, {dict(ledger.counts)}")  # noqa: T201 (shown with -s)
    assert objects > 20


def test_a_disk_that_is_wiped_is_refilled_by_the_others(namespace: Namespace) -> None:
    """A node that comes back empty takes over what it should hold before it counts."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": NODES}))
    namespace.wait_ready("photos", 150)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="kept")
    for number in range(30):
        s3.put_object(Bucket="kept", Key=f"k{number}", Body=b"%d" % number * 1000)
    namespace.kubectl("delete", "pvc", "data-photos-2", "--wait=false")
    end(namespace, "photos-2")
    namespace.wait_ready("photos", 150)
    eventually(lambda: namespace.node_status("photos", "photos-2")["objects"] == 30, "the empty disk is filled", 150)
    for name in ("photos-0", "photos-1"):
        end(namespace, name)
        namespace.wait_ready("photos", 120)
    again = namespace.s3("photos", pod="photos-2")
    for number in range(30):
        found = patiently(partial(again.get_object, Bucket="kept", Key=f"k{number}"))
        assert found["Body"].read() == b"%d" % number * 1000


def test_the_administrators_key_changes_under_clients(namespace: Namespace) -> None:
    """Nobody fails while both keys work; afterwards the old one is refused, and clients that take the new one go on."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": NODES}, keyGraceSeconds=20))
    namespace.wait_ready("photos", 150)
    with clients_at_work(namespace, seed=16) as ledger:
        goes_on(ledger)
        old = namespace.s3("photos")
        new = {"access_key": "NEWKEY", "secret_key": "new-secret-2"}
        namespace.patch("secret", "photos-root", {"stringData": new})
        for name in sorted(pods(namespace)):
            eventually(namespace.s3("photos", new, pod=name).list_buckets, f"{name} knows the new key", 15)
        assert old.list_buckets()
        assert not [kind for kind in ledger.counts if kind.startswith("error")], ledger.counts
        eventually(lambda: ledger.counts["error InvalidAccessKeyId"], "the old key ends")
        goes_on(ledger)
    assert {kind for kind in ledger.counts if kind.startswith("error")} == {"error InvalidAccessKeyId"}


def _started(namespace: Namespace) -> set[str]:
    """The pods by identity: a pod that was replaced has another one."""
    return {pod["metadata"]["uid"] for pod in namespace.list("pods", "moln.dev/cloud=photos")}
