"""The nodes as machines that can be switched on and off: containerd, kubelet and kube-proxy of each.

Called by `boot`. Switching off is what a power failure does: every process at one
moment. Switching on is a boot: what the node had in memory is cleared first, what it had on disk is kept.
"""

import shutil
from pathlib import Path

import yaml

from moln_lab import cgroups, containerd, network, volumes
from moln_lab.block import release_under
from moln_lab.files import write
from moln_lab.pki import Authority
from moln_lab.processes import ProcessTable, Program
from moln_lab.saved import Saved
from moln_lab.topology import DNS_DOMAIN, DNS_SERVICE, REGION, Node, Topology

KUBELET_GROUP = "pods"
"""Below a node's cgroup: where its kubelet puts the pods."""


class Machine:
    """One node's programs."""

    def __init__(self, topology: Topology, node: Node, builds: Saved) -> None:
        self._topology = topology
        self._node = node
        self._builds = builds
        self._authority = Authority(topology.pki)
        self._table = ProcessTable(topology.state)

    def start_runtime(self) -> None:
        """Boot the node as far as its container runtime; nothing happens if that runs."""
        if not self._table.runs(containerd.program(self._node)) or self._half_dead():
            self.power_off()
            self._clear_memory()
        network.ensure_node(self._topology, self._node)
        containerd.prepare(self._node)
        self._table.ensure(containerd.program(self._node))

    def start_kubelet(self) -> None:
        """Let the node join the cluster and run pods, once its runtime runs."""
        for program in (
            volumes.node_program(self._topology, self._node, self._builds.csi),
            self._kubelet(),
            self._proxy(),
        ):
            self._table.ensure(program)

    def power_off(self) -> None:
        """End every process of the node at one moment, pods and all."""
        cgroups.kill(self._node.cgroup)

    def program_names(self) -> list[str]:
        """Return what a running node consists of, as the process table names it."""
        return [f"{self._node.name}.{name}" for name in ("containerd", "csi-driver", "kubelet", "kube-proxy")]

    def _half_dead(self) -> bool:
        """Tell whether a fault was interrupted half way: the node frozen, or its kubelet stopped for good."""
        return cgroups.frozen(self._node.cgroup) or self._table.stopped(f"{self._node.name}.kubelet")

    def _clear_memory(self) -> None:
        """Drop what a machine loses with its power: mounts, pods' networks, sockets, cgroups."""
        for folder in (self._node.run, self._node.files):
            release_under(folder)
        shutil.rmtree(self._node.run, ignore_errors=True)
        cgroups.remove(self._node.cgroup)

    def _kubelet(self) -> Program:
        node, files = self._node, self._node.files
        credential = self._authority.issue(
            f"{node.name}.kubelet",
            f"system:node:{node.name}",
            ["system:nodes"],
            addresses=[node.address],
            names=[node.name],
        )
        kubeconfig = self._authority.kubeconfig(
            files / "kubelet.kubeconfig", credential, self._topology.api, self._topology.link
        )
        cgroups.create(f"{node.cgroup}/{KUBELET_GROUP}")
        write(files / "resolv.conf", f"nameserver {DNS_SERVICE}\n")
        config = files / "kubelet.yaml"
        write(config, yaml.safe_dump(self._kubelet_config(credential.certificate, credential.key)))
        labels = {"topology.kubernetes.io/zone": node.zone, "topology.kubernetes.io/region": REGION}
        return self._program(
            "kubelet",
            f"--config={config}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={files / 'kubelet'}",
            f"--cert-dir={files / 'kubelet-pki'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
            f"--node-labels={','.join(f'{key}={value}' for key, value in labels.items())}",
            reads=(config,),
        )

    def _kubelet_config(self, certificate: Path, key: Path) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._authority.credential.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{containerd.socket(self._node)}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._node.cgroup}/{KUBELET_GROUP}",
            "failCgroupV1": False,
            "clusterDNS": [str(DNS_SERVICE)],
            "clusterDomain": DNS_DOMAIN,
            "resolvConf": str(self._node.files / "resolv.conf"),
            "podLogsDir": str(self._node.files / "pod-logs"),
            "volumePluginDir": str(self._node.files / "volume-plugins"),
            # The nodes share this machine's disk and memory: one node's images or pods must not be thrown out
            # because the machine is full of something else, which would say nothing about the node.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            "failSwapOn": False,
            "syncFrequency": "10s",  # a grown volume is noticed at the next look at its pod
            "nodeLeaseDurationSeconds": 20,
            "nodeStatusUpdateFrequency": "5s",
            "oomScoreAdj": 0,
        }

    def _proxy(self) -> Program:
        credential = self._authority.issue(f"{self._node.name}.kube-proxy", "system:kube-proxy")
        kubeconfig = self._authority.kubeconfig(
            self._node.files / "kube-proxy.kubeconfig", credential, self._topology.api, self._topology.link
        )
        config = self._node.files / "kube-proxy.yaml"
        write(
            config,
            yaml.safe_dump(
                {
                    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
                    "kind": "KubeProxyConfiguration",
                    "mode": "nftables",
                    "clientConnection": {"kubeconfig": str(kubeconfig)},
                    "clusterCIDR": str(self._topology.pods),
                    "hostnameOverride": self._node.name,
                    "oomScoreAdj": 0,
                    # Limits of connection tracking belong to the whole machine and can't be set from a namespace.
                    "conntrack": {"maxPerCore": 0, "min": 0},
                }
            ),
        )
        return self._program("kube-proxy", f"--config={config}", reads=(config,))

    def _program(self, name: str, *flags: str, reads: tuple[Path, ...]) -> Program:
        return Program(
            name=f"{self._node.name}.{name}",
            argv=(str(self._builds.kubernetes / name), *flags),
            netns=self._node.netns,
            cgroup=f"{self._node.cgroup}/{name}",
            reads=reads,
        )
