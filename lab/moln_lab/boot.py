"""Starting a lab's programs in the order in which they need each other, and waiting for what each must answer.

Called by `lab`. Everything here is idempotent: what runs as it should is left alone.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from moln_lab import addons, cgroups, containerd, controlplane, images, network, volumes
from moln_lab.block import release_under
from moln_lab.cluster import Cluster
from moln_lab.hosts import Machine
from moln_lab.processes import ProcessTable
from moln_lab.progress import Progress, wait_for
from moln_lab.saved import Saved
from moln_lab.topology import Node, Topology

_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Boot:
    """Starts the programs of one lab."""

    topology: Topology
    builds: Saved
    progress: Progress

    def control_plane(self) -> None:
        """Have the control plane running and the cluster furnished with what all its users need.

        Raises:
            LabError: A program ended by itself, or did not answer in time.
        """
        network.ensure_control(self.topology)
        volumes.open_pools(self.topology)
        programs = controlplane.programs(self.topology, self.builds.kubernetes)
        for program in programs:
            self._table.ensure(program)
        first = [program.name for program in programs if program.name.endswith((".etcd", ".kube-apiserver"))]
        self._wait(first, self._cluster.answers, "the API server")
        self._cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": self._furniture()}))
        # Those that gave up for want of an API server are started again.
        everything = [*programs, *volumes.control_programs(self.topology, self.builds.csi)]
        for program in everything:
            self._table.ensure(program)
        names = [program.name for program in everything]
        self._wait(names, lambda: controlplane.dns_ready(self.topology), "the cluster DNS")

    def node(self, node: Node) -> None:
        """Have one node's programs running; it is Ready some seconds later.

        Raises:
            LabError: Its container runtime does not answer in time.
        """
        pause = images.pause(self.progress.cache, self.progress)
        machine = self.machine(node)
        machine.start_runtime()
        address = containerd.socket(node)
        self._wait(
            [containerd.program(node).name], lambda: containerd.serves_kubelets(address), f"{node.name}'s containerd"
        )
        containerd.load(node, pause, [containerd.PAUSE_IMAGE])
        machine.start_kubelet()
        network.ensure_routes(self.topology, node)

    def wait_until_ready(self, *nodes: Node) -> None:
        """Wait until nodes work, and Kubernetes has heard so from their kubelets as they run now.

        Raises:
            LabError: A program ended by itself, or the nodes are not Ready in time.
        """

        def ready() -> bool:
            started = {node.name: self._table.started(f"{node.name}.kubelet") for node in nodes}
            return self._cluster.heard_from(started)

        programs = [name for node in nodes for name in self.machine(node).program_names()]
        self._wait(programs, ready, ", ".join(node.name for node in nodes), poll=0.3)

    def remove_node(self, node: Node) -> None:
        """Take a node out of the lab for good, volumes and all.

        Raises:
            LabError: Something of it could not be removed.
        """
        self.machine(node).power_off()
        self._cluster.kubectl("delete", "node", node.name, "--ignore-not-found")
        network.disconnect(self.topology, node)
        volumes.remove_node(self.topology, node.name)
        for place in (node.run, node.files, node.netns):
            release_under(place)
        cgroups.remove(node.cgroup)
        shutil.rmtree(node.run, ignore_errors=True)
        shutil.rmtree(node.files, ignore_errors=True)

    def machine(self, node: Node) -> Machine:
        """Return a node as something to switch on and off."""
        return Machine(self.topology, node, self.builds)

    @property
    def _table(self) -> ProcessTable:
        return ProcessTable(self.topology.state)

    @property
    def _cluster(self) -> Cluster:
        return Cluster(self.topology, self.builds.kubernetes)

    def _furniture(self) -> list[addons.Manifest]:
        return [*addons.manifests(self.topology), *volumes.manifests()]

    def _wait(self, programs: list[str], condition: Callable[[], bool], what: str, poll: float = 0.1) -> None:
        def holds() -> bool:
            for name in programs:
                self._table.check(name)
            return condition()

        wait_for(holds, f"waiting for {what}", _TIMEOUT, poll)
