"""Machines that die and machines that are drained, under clients that never stop.

These stop machines of the lab, so they have it to themselves (see the Makefile).
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cluster import a_cloud, eventually
from tests.e2e.story import clients_at_work, goes_on, pods, reasons, says
from tests.e2e.test_chart import CHART, helm, values

from moln_lab.errors import LabError
from moln_lab.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.cluster import Namespace

    from moln_lab.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.xdist_group("alone")]


@pytest.fixture
def faults(lab: Lab) -> Iterator[Faults]:
    """Faults of the lab's machines; all of them are up and take pods afterwards."""
    faults = Faults(lab)
    try:
        yield faults
    finally:
        lab.up()
        for node in lab.topology.nodes:
            lab.kubectl("uncordon", node.name)

        def all_take_pods() -> bool:
            found = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
            return not any(node["spec"].get("taints") for node in found)

        eventually(all_take_pods, "every machine takes pods: the next cloud spreads over all")


def machine_of(namespace: Namespace, pod: str) -> str:
    """The machine that a pod runs on."""
    return str(namespace.get("pod", pod)["spec"]["nodeName"])


def drain(namespace: Namespace, machine: str, cloud: str, seconds: int = 60) -> str:
    """`kubectl drain`, as users do, of the pods of one cloud; LabError with what it prints when it does not succeed."""
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", f"--pod-selector=moln.dev/cloud={cloud}")
    return namespace.kubectl("drain", machine, *flags, f"--timeout={seconds}s", timeout=seconds + 10)


def stays_true(namespace: Namespace, cloud: str, summary: str, seconds: float) -> None:
    """For a while every look at the status says that so many nodes are ready, and is not Ready as a whole."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert namespace.get("cloud", cloud)["status"]["nodes"]["summary"] == summary
        assert namespace.condition(cloud)["status"] == "False"
        time.sleep(0.5)


def test_a_machine_dies_and_comes_back(namespace: Namespace, faults: Faults) -> None:
    """The others serve; the status names the node and its machine until it is back, and has what it missed."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    machine = machine_of(namespace, "photos-2")
    with clients_at_work(namespace, seed=11) as ledger:
        faults.kill_node(machine)
        began = time.monotonic()
        told = says(namespace, "photos", "Ready", "NodesNotReady", 90)["message"]
        print(f"told after {time.monotonic() - began:.1f} s: {told}")  # noqa: T201 (shown with -s)
        assert "photos-2: the operator gets no answer" in told
        eventually(lambda: f"is the machine {machine} up?" in namespace.condition("photos")["message"], "why", 90)
        goes_on(ledger)
        stays_true(namespace, "photos", "2/3", 3)
        faults.start_node(machine)
        namespace.wait_settled("photos", "3/3", 120)
        print(f"settled after {time.monotonic() - began:.1f} s")  # noqa: T201 (shown with -s)


def test_a_machine_that_never_comes_back_is_made_up_for_elsewhere(namespace: Namespace, faults: Faults) -> None:
    """By the user's word its disk is given up; the pod comes up on another machine, and all copies are made again."""
    namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_ready("photos", 150)
    machine = machine_of(namespace, "photos-1")
    with clients_at_work(namespace, seed=12) as ledger:
        faults.kill_node(machine)
        began = time.monotonic()
        says(namespace, "photos", "Ready", "NodesNotReady", 90)
        namespace.patch("cloud", "photos", {"spec": {"nodes": {"lostNodes": ["photos-1"]}}})
        namespace.kubectl("cordon", machine)
        namespace.kubectl("delete", "pvc", "data-photos-1", "--wait=false")
        namespace.kubectl("delete", "pod", "photos-1", "--grace-period=0", "--force")
        namespace.wait_settled("photos", "3/3", 150)
        print(f"settled after {time.monotonic() - began:.1f} s")  # noqa: T201 (shown with -s)
        assert machine_of(namespace, "photos-1") != machine
        assert [node["number"] for node in namespace.map("photos")["nodes"]] == [0, 3, 2]
        goes_on(ledger)


def test_the_machine_of_the_operator_dies_too(namespace: Namespace, faults: Faults) -> None:
    """Installed by the chart, it comes up on another machine, and says which node is silent."""
    helm(namespace, "install", "moln", str(CHART), *values(namespace), "--set", "cloud.enabled=false")
    namespace.apply(a_cloud("photos", nodes={"replicas": 3}))
    namespace.wait_settled("photos", "3/3", 150)
    (operator,) = namespace.list("pods", "app.kubernetes.io/name=moln-operator")
    machine = operator["spec"]["nodeName"]
    away = [pod for pod in sorted(pods(namespace)) if machine_of(namespace, pod) == machine]
    with clients_at_work(namespace, seed=17) as ledger:
        faults.kill_node(machine)
        began = time.monotonic()
        told = says(namespace, "photos", "Ready", "NodesNotReady", 90)["message"]
        print(f"told after {time.monotonic() - began:.1f} s: {told}")  # noqa: T201 (shown with -s)
        assert away
        assert all(f"{pod}: the operator gets no answer" in told for pod in away)
        goes_on(ledger)
        faults.start_node(machine)
        namespace.wait_settled("photos", "3/3", 120)
    helm(namespace, "uninstall", "moln", "--wait")


def test_a_drain_takes_one_node_of_three_and_no_second(namespace: Namespace, faults: Faults) -> None:
    """Clients go on; a second machine's drain waits for the first node, and succeeds once that is back."""
    del faults
    namespace.operator()
    namespace.apply(a_cloud("drained", nodes={"replicas": 3}))
    namespace.wait_ready("drained", 150)
    first, second = machine_of(namespace, "drained-0"), machine_of(namespace, "drained-1")
    assert first != second
    with clients_at_work(namespace, seed=13, cloud="drained") as ledger:
        began = time.monotonic()
        print(drain(namespace, first, "drained"))  # noqa: T201 (shown with -s)
        print(f"drained after {time.monotonic() - began:.1f} s")  # noqa: T201 (shown with -s)
        told = says(namespace, "drained", "Ready", "NodesNotReady")["message"]
        assert "drained-0: its pod can't be scheduled" in told
        with pytest.raises(LabError, match="disruption budget"):
            drain(namespace, second, "drained", 6)
        goes_on(ledger)
        stays_true(namespace, "drained", "2/3", 2)
        namespace.lab.kubectl("uncordon", first)
        namespace.wait_ready("drained", 60)
        drain(namespace, second, "drained")
        namespace.lab.kubectl("uncordon", second)
        namespace.wait_settled("drained", "3/3", 60)


def test_the_drain_of_an_only_node_is_refused_and_says_what_to_do(namespace: Namespace, faults: Faults) -> None:
    """By the Cloud's status in any case, and by kubectl itself where the chart's policy is there."""
    del faults
    namespace.operator()
    namespace.apply(a_cloud("drained"))
    namespace.wait_ready("drained", 150)
    pod, machine = namespace.get("pod", "drained-0")["metadata"]["uid"], machine_of(namespace, "drained-0")
    budget, policy = "violate the pod's disruption budget", "drained-0 is the only node of the cloud"
    with pytest.raises(LabError, match=f"{budget}|{policy}"):  # the policy's where a release is on the lab, as a demo's
        drain(namespace, machine, "drained", 2)
    told = says(namespace, "drained", "Degraded", "DrainRefused")["message"]
    assert f"the machine {machine} is cordoned; drained-0 is the only node of the cloud drained" in told
    assert "DrainRefused" in reasons(namespace)

    known = ("--api-versions", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy")
    rendered = helm(namespace, "template", "moln", str(CHART), "--show-only", "templates/drain.yaml", *known)
    namespace.kubectl("apply", "-f", "-", stdin=rendered.encode())
    try:

        def refused_in_our_words() -> str:
            with pytest.raises(LabError) as refused:
                drain(namespace, machine, "drained", 2)
            assert "kubectl delete pod drained-0" in str(refused.value)
            return str(refused.value)

        words = eventually(refused_in_our_words, "the API server knows the policy")
        print(words)  # noqa: T201 (shown with -s)
    finally:
        namespace.kubectl("delete", "-f", "-", stdin=rendered.encode())
    assert namespace.get("pod", "drained-0")["metadata"]["uid"] == pod
    namespace.lab.kubectl("uncordon", machine)
    says(namespace, "drained", "Degraded", "AsExpected")
