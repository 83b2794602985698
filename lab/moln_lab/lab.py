"""The front door: one lab, brought up, looked at, and taken down.

`up` may be run at any time and after any kind of end, kill -9 of itself included: it makes what is missing, boots
what lost its power, and leaves alone what runs. `down` removes everything that the lab has on this machine but the
cache. Only one of them runs at a time.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from moln_lab import binaries, cgroups, containerd, images, leftovers, network, packages, status, volumes
from moln_lab.block import release_under
from moln_lab.boot import Boot
from moln_lab.cluster import Cluster
from moln_lab.processes import ProcessTable
from moln_lab.progress import Progress
from moln_lab.saved import Saved, locked
from moln_lab.topology import Node, Settings, Topology


class Lab:
    """One cluster on this machine, running or not."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topology = Topology(settings)
        self.processes = ProcessTable(settings.state)
        self.progress = Progress(settings.cache)

    @staticmethod
    def existing(name: str | None = None) -> "Lab":
        """Return the lab of that name as its `up` made it.

        Raises:
            LabError: It is not up.
        """
        settings = Settings.of(name)
        return Lab(Settings.of(settings.name, Saved.of(settings).nodes))

    @property
    def programs(self) -> Path:
        """The folder with kubectl, helm and the rest.

        Raises:
            LabError: The lab is not up.
        """
        return Saved.of(self.settings).kubernetes

    @property
    def cluster(self) -> Cluster:
        """The lab's API server.

        Raises:
            LabError: The lab is not up.
        """
        return Cluster(self.topology, self.programs)

    def kubectl(self, *arguments: str, stdin: bytes | None = None, timeout: float = 60) -> str:
        """Run kubectl on the lab and return its output.

        Raises:
            LabError: The lab is not up, or kubectl failed.
        """
        return self.cluster.kubectl(*arguments, stdin=stdin, timeout=timeout)

    def up(self) -> None:
        """Bring the lab up, whatever state it was left in.

        Raises:
            LabError: A step failed; the message says which program and shows its last lines.
        """
        with self._locked():
            builds = self._build()
            before = Saved.find(self.settings)
            builds.save(self.settings)
            boot = Boot(self.topology, builds, self.progress)
            with self.progress.step("start the control plane", about=8):
                boot.control_plane()
            if before is not None and before.nodes > builds.nodes:
                self._drop_nodes(before)
            with self.progress.step("start the nodes", about=8), ThreadPoolExecutor() as pool:
                list(pool.map(boot.node, self.topology.nodes))
            with self.progress.step("wait until the nodes are Ready", about=8):
                boot.wait_until_ready(*self.topology.nodes)

    def images(self) -> str:
        """Build the project's image as the code is now and give it to every node.

        Returns:
            Its name, with a tag that changes with its content.

        Raises:
            LabError: It could not be built, or a node refused it.
        """
        with self._locked():
            with self._builds_locked():
                image = images.Builder(self.settings.cache, self.progress).project()
            names = [f"{images.PROJECT}:{tag}" for tag in ("dev", image.tag)]
            with self.progress.step("load the image into the nodes", about=8), ThreadPoolExecutor() as pool:
                list(pool.map(lambda node: containerd.load(node, image, names), self.topology.nodes))
        return names[-1]

    def status(self) -> list[status.NodeLine]:
        """Return what there is to say about each node.

        Raises:
            LabError: The lab is not up, or its API server does not answer.
        """
        ready = {node.metadata.name for node in self.cluster.nodes() if node.ready}
        pods = self.cluster.pods()
        return [
            status.NodeLine(
                name=node.name,
                zone=node.zone,
                power=bool(cgroups.members(node.cgroup)),
                ready=node.name in ready,
                address=str(node.address),
                pods=status.pods_on(node.name, pods),
            )
            for node in self.topology.nodes
        ]

    def memory(self) -> int:
        """Return the bytes of memory that the lab holds: all its programs and pods, without what is only cached."""
        return cgroups.memory(self.topology.cgroup)

    def power_off(self, node: Node) -> None:
        """End every process of a node at one moment."""
        self._boot().machine(node).power_off()

    def power_on(self, *nodes: Node) -> None:
        """Boot the nodes that are off, and wait until they work.

        Raises:
            LabError: One does not become Ready.
        """
        boot = self._boot()
        for node in nodes:
            boot.node(node)
        boot.wait_until_ready(*nodes)

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
            if self.settings.state.exists():
                shutil.rmtree(self.settings.state)

    def _build(self) -> Saved:
        """Have everything that a lab runs installed and built."""
        cache = self.settings.cache
        with self._builds_locked():
            packages.ensure(self.settings, self.progress)
            images.pause(cache, self.progress)
            return Saved(
                nodes=self.settings.nodes,
                kubernetes=binaries.kubernetes(cache, self.progress),
                csi=volumes.build(cache, self.progress),
            )

    def _locked(self) -> AbstractContextManager[None]:
        """Let only one command at a time change this lab."""
        return locked(self.settings, f"lab-{self.settings.name}", self.progress)

    def _builds_locked(self) -> AbstractContextManager[None]:
        """Let only one command at a time build, whatever lab it is for."""
        return locked(self.settings, "builds", self.progress)

    def _boot(self) -> Boot:
        return Boot(self.topology, Saved.of(self.settings), self.progress)

    def _drop_nodes(self, before: Saved) -> None:
        """Remove the nodes that an earlier `up` had and this one has not."""
        wider = Topology(Settings.of(self.settings.name, before.nodes))
        boot = Boot(wider, before, self.progress)
        with self.progress.step("remove nodes"):
            for node in wider.nodes[self.settings.nodes :]:
                boot.remove_node(node)
