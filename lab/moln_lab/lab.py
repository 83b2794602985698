"""The front door: one lab, brought up, looked at, and taken down.

`up` may be run at any time and after any kind of end, kill -9 of itself included: it makes what is missing, boots
what lost its power, and leaves alone what runs. `down` removes everything that the lab has on this machine but the
cache. Only one of them runs at a time.
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ValidationError

from moln_lab import addons, binaries, cgroups, containerd, controlplane, images, leftovers, network, packages, status, volumes
from moln_lab.block import release_under
from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.files import write
from moln_lab.hosts import Machine
from moln_lab.pki import Authority
from moln_lab.processes import ProcessTable
from moln_lab.progress import Progress, wait_for
from moln_lab.topology import Node, Settings, Topology

_READY_TIMEOUT = 120.0


class _Saved(BaseModel):
    """What a lab remembers about itself from `up` to `down`."""

    nodes: int
    kubernetes: Path
    csi: Path


class Lab:
    """One cluster on this machine, running or not."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topology = Topology(settings)
        self.processes = ProcessTable(settings.state)
        self.progress = Progress(settings.cache)

    @staticmethod
    def existing(name: str = "lab") -> "Lab":
        """Return the lab of that name as its `up` made it.

        Raises:
            LabError: It was never brought up.
        """
        settings = Settings.of(name)
        saved = _saved(settings)
        if saved is None:
            raise LabError(f"the lab {name!r} is not up: `moln-lab up` starts it")
        return Lab(Settings.of(name, saved.nodes))

    @cached_property
    def authority(self) -> Authority:
        """The cluster's certificate authority."""
        return Authority(self.settings.state / "pki")

    @property
    def programs(self) -> Path:
        """The folder with kubectl, helm and the rest.

        Raises:
            LabError: The lab was never brought up.
        """
        return self._builds().kubernetes

    def _builds(self) -> _Saved:
        saved = _saved(self.settings)
        if saved is None:
            raise LabError(f"the lab {self.settings.name!r} is not up: `moln-lab up` starts it")
        return saved

    def machine(self, node: Node) -> Machine:
        """Return a node as something to switch on and off."""
        builds = self._builds()
        return Machine(self.topology, node, self.authority, builds.kubernetes, builds.csi)

    def kubectl(self, *arguments: str, stdin: bytes | None = None, timeout: float = 60) -> str:
        """Run kubectl on the cluster and return its output.

        Raises:
            LabError: It failed.
        """
        return run(
            [self.programs / "kubectl", "--kubeconfig", self.topology.kubeconfig, *arguments],
            stdin=stdin,
            timeout=timeout,
        )

    def up(self) -> None:
        """Bring the lab up, whatever state it was left in.

        Raises:
            LabError: A step failed; the message says which program and shows its last lines.
        """
        with self._locked():
            packages.ensure(self.settings, self.progress)
            kubernetes = binaries.kubernetes(self.settings.cache, self.progress)
            csi = volumes.build(self.settings.cache, self.progress)
            images.pause(self.settings.cache, self.progress)
            self._drop_surplus_nodes()
            self._save(_Saved(nodes=self.settings.nodes, kubernetes=kubernetes, csi=csi))
            with self.progress.step("start the control plane", about=8):
                self._start_control_plane()
            with self.progress.step("start the nodes", about=10):
                with ThreadPoolExecutor() as pool:
                    list(pool.map(self.start_node, self.topology.nodes))
                network.ensure_routes(self.topology)
            with self.progress.step("wait until the nodes are Ready", about=10):
                wait_for(self._all_ready, "the nodes' becoming Ready", _READY_TIMEOUT, poll=0.5)

    def images(self) -> str:
        """Build the project's image as the code is now and give it to every node.

        Returns:
            Its name, with a tag that changes with its content.

        Raises:
            LabError: It could not be built, or a node refused it.
        """
        with self._locked():
            image = images.Builder(self.settings.cache, self.progress).project()
            names = [f"{images.PROJECT}:{tag}" for tag in ("dev", image.tag)]
            with self.progress.step("load the image into the nodes", about=8), ThreadPoolExecutor() as pool:
                list(pool.map(lambda node: containerd.load(node, image, names), self.topology.nodes))
        return names[-1]

    def status(self) -> list[status.NodeLine]:
        """Return what there is to say about each node.

        Raises:
            LabError: The API server does not answer.
        """
        nodes = status.KubernetesNodes.model_validate_json(self.kubectl("get", "nodes", "-o", "json"))
        pods = status.KubernetesPods.model_validate_json(self.kubectl("get", "pods", "-A", "-o", "json"))
        ready = {node.metadata.name for node in nodes.items if node.ready}
        return [
            status.NodeLine(
                name=node.name,
                zone=node.zone,
                power=self.machine(node).running(),
                ready=node.name in ready,
                address=str(node.address),
                pods=status.pods_on(node.name, pods.items),
            )
            for node in self.topology.nodes
        ]

    def node_ready(self, node: Node) -> bool:
        """Tell whether Kubernetes takes a node for Ready."""
        return any(line.ready for line in self.status() if line.name == node.name)

    def down(self) -> None:
        """Remove everything of the lab from this machine, except the cache.

        Raises:
            LabError: Something could not be removed.
        """
        with self._locked():
            cgroups.kill(self.topology.cgroup)
            leftovers.remove(self.topology)
            network.remove(self.topology)
            release_under(self.settings.state)
            cgroups.remove(self.topology.cgroup)
            shutil.rmtree(self.settings.state, ignore_errors=True)
            if self.settings.state.exists():
                raise LabError(f"{self.settings.state} could not be removed")

    def _start_control_plane(self) -> None:
        if not self.processes.alive(f"{self.topology.control.name}.etcd"):
            cgroups.kill(self.topology.control.cgroup)
        network.ensure_control(self.topology)
        controlplane.prepare(self.topology, self.authority)
        programs = controlplane.programs(self.topology, self.authority, self.programs)
        for program in programs:
            self.processes.ensure(program)

        def ready() -> bool:
            for program in programs:
                # The others give up when there is no API server yet, and are simply started again.
                if program.name.endswith((".etcd", ".kube-apiserver")):
                    self.processes.check(program.name)
            return controlplane.ready(self.topology, self.programs)

        wait_for(ready, "the API server's becoming ready", _READY_TIMEOUT)
        for program in programs:
            self.processes.ensure(program)
        objects = {"apiVersion": "v1", "kind": "List", "items": [*addons.manifests(self.topology), *volumes.manifests()]}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(objects).encode())

        volumes.open_pools(self.topology)
        for program in volumes.control_programs(self.topology, self._builds().csi):
            self.processes.ensure(program)

        def names_resolve() -> bool:
            for program in programs:
                self.processes.check(program.name)
            return controlplane.dns_ready(self.topology)

        wait_for(names_resolve, "the cluster DNS's becoming ready", _READY_TIMEOUT)

    def start_node(self, node: Node) -> None:
        """Have one node's programs running; it becomes Ready some seconds later.

        Raises:
            LabError: Its container runtime does not start.
        """
        pause = images.pause(self.settings.cache, self.progress)
        machine = self.machine(node)
        machine.start_runtime()

        def answers() -> bool:
            self.processes.check(containerd.program(node).name)
            with contextlib.suppress(LabError):
                containerd.ctr(node, "version")
                return True
            return False

        wait_for(answers, f"{node.name}'s containerd", _READY_TIMEOUT)
        containerd.load(node, pause, [containerd.PAUSE_IMAGE])
        machine.start_kubelet()

    def _all_ready(self) -> bool:
        for node in self.topology.nodes:
            self.machine(node).check()
        return all(line.ready for line in self.status())

    def _drop_surplus_nodes(self) -> None:
        saved = _saved(self.settings)
        if saved is None or saved.nodes <= self.settings.nodes:
            return
        before = Topology(Settings.of(self.settings.name, saved.nodes, self.settings.state))
        for node in before.nodes[self.settings.nodes :]:
            cgroups.kill(node.cgroup)
            self.kubectl("delete", "node", node.name, "--ignore-not-found")
            network.disconnect(before, node)
            volumes.remove_node(before, node.name)
            release_under(node.run)
            release_under(node.files)
            release_under(node.netns)
            cgroups.remove(node.cgroup)
            shutil.rmtree(node.run, ignore_errors=True)
            shutil.rmtree(node.files)

    def _save(self, saved: _Saved) -> None:
        write(self.settings.state / "lab.json", saved.model_dump_json())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the cache and this lab alone; the kernel lets go of it when the process ends, however it ends."""
        self.settings.cache.mkdir(parents=True, exist_ok=True)
        with (self.settings.cache / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with self.progress.step("wait for another moln-lab to end"):
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _saved(settings: Settings) -> _Saved | None:
    try:
        return _Saved.model_validate_json((settings.state / "lab.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # an `up` by another version of the lab is as good as none: `up` makes what this one needs
