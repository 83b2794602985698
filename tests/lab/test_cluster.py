"""The lab as three pods with volumes and Services see it: whole, and with nodes and links that fail."""

import json
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from moln_lab import network
from moln_lab.errors import LabError
from moln_lab.faults import Faults
from moln_lab.lab import Lab
from moln_lab.progress import wait_for
from moln_lab.topology import Node

pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.xdist_group("alone")]

IMAGE = "localhost/moln:dev"
PORT = 8080
PODS = ("web-0", "web-1", "web-2")
_SERVE = f"""
test -e /data/index.html || hostname > /data/index.html
echo serving on {PORT}
exec python3 -m http.server --directory /data {PORT}
"""


@dataclass(frozen=True, slots=True)
class Web:
    """Three pods that each serve their own name from their volume, behind Services `web` (headless) and `any`."""

    lab: Lab
    namespace: str

    def kubectl(self, *arguments: str, timeout: float = 60) -> str:
        """Run kubectl in the namespace."""
        return self.lab.kubectl("--namespace", self.namespace, *arguments, timeout=timeout)

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod as the API server has it."""
        return dict(json.loads(self.kubectl("get", "pod", name, "-o", "json")))

    def node_of(self, name: str) -> str:
        """Return the node that a pod is on."""
        return str(self.pod(name)["spec"]["nodeName"])

    def python(self, pod: str, program: str) -> str:
        """Run Python in a pod; return what it prints."""
        return self.kubectl("exec", pod, "--", "python3", "-c", program).strip()

    def wait_until_ready(self) -> None:
        """Wait until all three pods are, and each can be found by its name.

        A pod whose node was cut off from the control plane becomes Ready some seconds after its node does, and only
        then has a name.
        """
        self.kubectl("rollout", "status", "statefulset/web", "--timeout=120s", timeout=130)
        lookups = f"import socket; [socket.gethostbyname(f'{{pod}}.web') for pod in {PODS}]"

        def found() -> bool:
            try:
                self.python(PODS[0], lookups)
            except LabError:
                return False
            return True

        wait_for(found, "the pods' names", 60, poll=0.5)


@pytest.fixture
def web(three: Web) -> Web:
    """The three pods, Ready, whatever the test before did to their nodes."""
    three.wait_until_ready()
    return three


@pytest.fixture(scope="module")
def three(lab: Lab) -> Iterator[Web]:
    """The three, in a namespace of their own that goes with them."""
    made = Web(lab, f"web-{uuid.uuid4().hex[:8]}")
    lab.kubectl("create", "namespace", made.namespace)
    try:
        items = [_service("web", {"clusterIP": "None"}), _service("any", {"type": "NodePort"}), _statefulset()]
        content = {"apiVersion": "v1", "kind": "List", "items": items}
        lab.kubectl("--namespace", made.namespace, "apply", "-f", "-", stdin=json.dumps(content).encode())
        yield made
    finally:
        lab.kubectl("delete", "namespace", made.namespace, "--timeout=100s", timeout=110)


def _service(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": PORT}], **spec},
    }


def _statefulset() -> dict[str, Any]:
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", _SERVE],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "serviceName": "web",
            "replicas": 3,
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "securityContext": {"runAsUser": 65532, "fsGroup": 65532},
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "topology.kubernetes.io/zone",
                            "whenUnsatisfiable": "DoNotSchedule",
                            "labelSelector": {"matchLabels": labels},
                        }
                    ],
                    "containers": [container],
                },
            },
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "320Mi"}}},
                }
            ],
        },
    }


def _get(web: Web, pod: str, address: str) -> str:
    """Fetch a page from within a pod."""
    return web.python(
        pod, f"import urllib.request as r; print(r.urlopen('http://{address}', timeout=5).read().decode())"
    )


def test_nodes_have_zones(lab: Lab) -> None:
    """Each of the first three nodes is in a zone of its own, by the label that schedulers spread over."""
    zones = lab.kubectl(
        "get", "nodes", "-o", "jsonpath={.items[*].metadata.labels.topology\\.kubernetes\\.io/zone}"
    ).split()
    assert set(zones) == {"zone-a", "zone-b", "zone-c"}


def test_a_statefulset_spreads_over_the_zones(web: Web) -> None:
    """Three pods with volumes of the default class land on three nodes."""
    assert len({web.node_of(pod) for pod in PODS}) == 3


def test_names_resolve_and_services_answer_from_every_node(web: Web) -> None:
    """From each pod, each other's name and the Service's name lead to a page."""
    for pod in PODS:
        for other in PODS:
            assert _get(web, pod, f"{other}.web:{PORT}") == other
        assert _get(web, pod, f"any.{web.namespace}.svc.cluster.local") in PODS


def test_services_answer_this_machine_on_every_node(web: Web) -> None:
    """A node port answers at each node's address, from outside the cluster."""
    port = web.kubectl("get", "service", "any", "-o", "jsonpath={.spec.ports[0].nodePort}")
    for node in web.lab.topology.nodes:
        with urllib.request.urlopen(f"http://{node.address}:{port}", timeout=5) as answer:
            assert answer.read().decode().strip() in PODS


def test_exec_and_logs_work(web: Web) -> None:
    """The API server reaches each kubelet: a command runs in each pod, and its log can be read."""
    for pod in PODS:
        assert web.kubectl("exec", pod, "--", "hostname").strip() == pod
        assert f"serving on {PORT}" in web.kubectl("logs", pod)


def test_nothing_can_reach_out(lab: Lab) -> None:
    """What a host sends to an address outside the lab leads into the cable that ends nowhere."""
    for host in (lab.topology.control, *lab.topology.nodes):
        assert " dev nowhere " in network.inside(host, "ip", "route", "get", "203.0.113.1")


def test_a_killed_node_is_noticed_and_comes_back_with_its_data(web: Web, faults: Faults) -> None:
    """Killed, a node goes NotReady and its pod stops answering; started, the same pod serves what it had written."""
    node = web.node_of("web-0")
    container = web.pod("web-0")["status"]["containerStatuses"][0]["containerID"]
    web.python("web-0", "open('/data/kept', 'w').write('kept')")
    faults.kill_node(node)

    with pytest.raises(LabError):
        _get(web, "web-1", f"web-0.web:{PORT}/kept")

    def noticed() -> bool:
        return {line.name for line in web.lab.status() if not line.ready} == {node}

    wait_for(noticed, "the node's becoming NotReady", 120, poll=0.5)
    faults.start_node(node)
    web.wait_until_ready()
    assert web.node_of("web-0") == node
    assert web.pod("web-0")["status"]["containerStatuses"][0]["containerID"] != container
    assert _get(web, "web-1", f"web-0.web:{PORT}/kept") == "kept"


_LISTEN = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("", 0))
    s.settimeout(5)
    print(s.getsockname()[1], flush=True)
    print(s.recvfrom(9)[0].decode(), flush=True)
"""


def _datagram_arrives(source: Node, target: Node) -> bool:
    """Tell whether what one node sends without being answered arrives at another."""
    listener = subprocess.Popen(
        ["nsenter", f"--net={target.netns}", "--", sys.executable, "-c", _LISTEN],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with listener:
        assert listener.stdout is not None
        port = int(listener.stdout.readline())
        send = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'hello', ('{target.address}', {port}))"
        network.inside(source, sys.executable, "-W", "ignore", "-c", send)
        return listener.stdout.readline().strip() == "hello"


def test_a_cut_network_is_cut(web: Web, faults: Faults) -> None:
    """Between two nodes nothing passes, either way, while both reach the third; healed, all is as before."""
    first, second = web.node_of("web-0"), web.node_of("web-1")
    faults.cut(first, second)
    with pytest.raises(LabError):
        _get(web, "web-0", f"web-1.web:{PORT}")
    with pytest.raises(LabError):
        _get(web, "web-1", f"web-0.web:{PORT}")
    assert _get(web, "web-0", f"web-2.web:{PORT}") == "web-2"
    assert _get(web, "web-2", f"web-1.web:{PORT}") == "web-1"
    faults.heal(first, second)
    assert _get(web, "web-0", f"web-1.web:{PORT}") == "web-1"


def test_a_network_can_be_cut_one_way(lab: Lab, faults: Faults) -> None:
    """What the first node sends is lost, and what the second sends arrives."""
    first, second, _ = lab.topology.nodes
    assert _datagram_arrives(first, second)
    faults.cut(first.name, second.name, one_way=True)
    assert not _datagram_arrives(first, second)
    assert _datagram_arrives(second, first)


def test_a_node_cut_off_from_the_control_plane_is_noticed(lab: Lab, faults: Faults) -> None:
    """A node that the API server does not hear from goes NotReady though it runs, and Ready when it is healed."""
    node = lab.topology.nodes[-1]

    def ready() -> bool:
        return any(line.ready for line in lab.status() if line.name == node.name)

    faults.cut(node.name, "control")
    wait_for(lambda: not ready(), "the node's becoming NotReady", 120, poll=0.5)
    assert any(line.power for line in lab.status() if line.name == node.name)
    faults.heal(node.name, "control")
    wait_for(ready, "the node's becoming Ready", 120, poll=0.5)


def _round_trip(source: Node, target: Node) -> float:
    """Return the seconds that it takes to open a connection to a node's kubelet, the best of three times."""
    connect = (
        "import socket, time; t = time.monotonic();"
        f"socket.create_connection(('{target.address}', 10250), 10).close(); print(time.monotonic() - t)"
    )
    return min(float(network.inside(source, sys.executable, "-c", connect)) for _ in range(3))


def test_a_network_can_be_slow(lab: Lab, faults: Faults) -> None:
    """A delay of 200 ms each way makes a round trip 400 ms, between these two nodes only, until it is healed."""
    first, second, third = lab.topology.nodes
    faults.delay(first.name, second.name, 200)
    assert 0.4 <= _round_trip(first, second) < 0.8
    assert _round_trip(first, third) < 0.2
    faults.heal()
    assert _round_trip(first, second) < 0.2


def test_bulk_passes_a_slow_network_whole(web: Web, faults: Faults) -> None:
    """Ten megabytes over a delayed link arrive, in order and unchanged."""
    web.python("web-1", "open('/data/bulk', 'wb').write(bytes(range(250)) * 40_000)")
    faults.delay(web.node_of("web-0"), web.node_of("web-1"), 5)
    fetch = (
        "import urllib.request as r;"
        f"got = r.urlopen('http://web-1.web:{PORT}/bulk', timeout=60).read();"
        "print(got == bytes(range(250)) * 40_000)"
    )
    assert web.python("web-0", fetch) == "True"
