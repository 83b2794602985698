"""The lab's volumes: each an XFS of a real size on its node, made by the CSI driver in lab/csi.

Called by `lab` and `hosts`, which start the programs described here, and by `volume_faults`. Where things are, below
the state folder:

    volumes/<node>/pool.img             the node's disk: a sparse file with an XFS
    volumes/<node>/pool/                that XFS, mounted
    volumes/<node>/pool/<pv>/disk.img   a volume: an XFS again, in a file of the size that was asked for
    volumes/<node>/pool/<pv>/volume.json   whose it is

The driver mounts volumes below the kubelet's folder. All of it is found again from the files and the kernel, so a node
that was killed, or a machine that was switched off, loses nothing.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from moln_lab.block import release_under
from moln_lab.cache import built, key_of
from moln_lab.commands import run, run_logged
from moln_lab.disk import Pool
from moln_lab.processes import Program
from moln_lab.progress import Progress
from moln_lab.topology import Node, Topology

DRIVER = "csi.moln.dev"
STORAGE_CLASS = "moln-xfs"

_SOURCE = Path(__file__).resolve().parents[1] / "csi"
_PACKAGES = ("./driver", "./provisioner", "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer")
_FLAGS = ("-trimpath", "-ldflags", "-s -w")
_BUILD_TIMEOUT = 3600.0


def build(cache: Path, progress: Progress) -> Path:
    """Return the folder with the programs `driver`, `provisioner` and `csi-resizer`, built when their sources are new.

    Raises:
        LabError: Go is missing, or the build failed.
    """
    sources = [file for file in _SOURCE.rglob("*") if file.suffix in {".go", ".mod", ".sum"}]
    files = [file for file in sources if not file.name.endswith("_test.go")]
    key = key_of(files, run(["go", "env", "GOVERSION", "GOOS", "GOARCH"]), os.uname().machine, *_FLAGS)

    def build_into(folder: Path) -> None:
        with progress.step("build the CSI driver and its sidecars", about=30):
            run_logged(
                ["go", "build", *_FLAGS, "-o", f"{folder}/", *_PACKAGES],
                cache / "logs" / "build-csi.log",
                timeout=_BUILD_TIMEOUT,
                env={"CGO_ENABLED": "0"},
                cwd=_SOURCE,
            )

    return built(cache, "csi", key, build_into)


def folder(topology: Topology) -> Path:
    """Return where the volumes of all nodes are."""
    return topology.state / "volumes"


def pool(topology: Topology, node: Node) -> Pool:
    """Return a node's disk, which may not be mounted."""
    return Pool(folder(topology) / node.name)


def open_pools(topology: Topology) -> None:
    """Have the disks of all nodes made and mounted; call it before any program starts."""
    for node in topology.nodes:
        pool(topology, node).open()


def remove_node(topology: Topology, name: str) -> None:
    """Throw away the disk of a node that is no more, volumes and all; its programs must have ended.

    Raises:
        LabError: Something still uses it.
    """
    disk = folder(topology) / name
    release_under(disk)
    if disk.exists():
        shutil.rmtree(disk)


def control_programs(topology: Topology, binaries: Path) -> tuple[Program, ...]:
    """Return what makes, deletes and grows volumes; for the control plane's host, once the API server answers."""
    endpoint = topology.state / "run" / topology.control.name / "csi.sock"
    api = f"--kubeconfig={topology.kubeconfig}"
    return (
        _control(
            topology,
            "csi-driver",
            *(str(binaries / "driver"), "controller", f"--endpoint={endpoint}", f"--pools={folder(topology)}"),
        ),
        _control(topology, "csi-provisioner", str(binaries / "provisioner"), f"--endpoint={endpoint}", api),
        _control(
            topology,
            "csi-resizer",
            *(str(binaries / "csi-resizer"), f"--csi-address={endpoint}", api, "--timeout=30s"),
            *("--handle-volume-inuse-error=false", "--retry-interval-start=500ms", "--retry-interval-max=10s"),
        ),
    )


def _control(topology: Topology, name: str, *argv: str) -> Program:
    host = topology.control
    return Program(f"{host.name}.{name}", argv, host.netns, f"{host.cgroup}/{name}")


def node_program(topology: Topology, node: Node, binaries: Path) -> Program:
    """Return what mounts a node's volumes for its kubelet; it may start before or after that."""
    kubelet = node.files / "kubelet"
    return Program(
        name=f"{node.name}.csi-driver",
        argv=(
            *(str(binaries / "driver"), "node", f"--node={node.name}", f"--pools={folder(topology)}"),
            f"--endpoint={kubelet / 'plugins' / DRIVER / 'csi.sock'}",
            f"--registration={kubelet / 'plugins_registry' / f'{DRIVER}-reg.sock'}",
        ),
        netns=node.netns,
        cgroup=f"{node.cgroup}/csi-driver",
    )


def manifests() -> list[dict[str, Any]]:
    """Return the driver and the default StorageClass, for the cluster. The programs bring their own rights."""
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIDriver",
            "metadata": {"name": DRIVER},
            "spec": {
                "attachRequired": False,
                "podInfoOnMount": False,
                "fsGroupPolicy": "File",
                "volumeLifecycleModes": ["Persistent"],
            },
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": DRIVER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": True,
        },
    ]
