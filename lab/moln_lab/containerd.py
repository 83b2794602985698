"""One containerd per node, with its files, sockets and CNI network apart from every other's.

`prepare` and `program` are called by `hosts`, `load` by `images`. Pure but for the files of the node it is given.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import grpc

from moln_lab.commands import run
from moln_lab.files import write
from moln_lab.oci import Image
from moln_lab.processes import Program
from moln_lab.topology import Node

PAUSE_IMAGE = "localhost/moln-lab-pause:1"
_NAMESPACE = "k8s.io"  # where the kubelet's images are
_IMPORT_TIMEOUT = 300.0
_VERSION = "/runtime.v1.RuntimeService/Version"
_ANSWER_TIMEOUT = 5.0


def socket(node: Node) -> Path:
    """Return where a node's containerd listens."""
    return node.run / "containerd.sock"


def prepare(node: Node) -> None:
    """Write the configuration of containerd and of the pods' network."""
    node.run.mkdir(parents=True, exist_ok=True)
    write(node.files / "cni" / "pods.conflist", json.dumps(_cni(node), indent=1))
    write(_config_file(node), _config(node))


def program(node: Node) -> Program:
    """Return the node's containerd."""
    return Program(
        name=f"{node.name}.containerd",
        argv=("containerd", "--config", str(_config_file(node))),
        netns=node.netns,
        cgroup=f"{node.cgroup}/containerd",
        reads=(_config_file(node),),
    )


def serves_kubelets(address: Path) -> bool:
    """Tell whether the containerd that listens at a socket answers kubelets yet.

    It listens, and answers `ctr`, before it has found the containers of before a power cut; a kubelet that asks in
    between ends. So the question here is the kubelet's first one: the version of the Container Runtime Interface.
    """
    with grpc.insecure_channel(f"unix://{address}") as channel:
        ask_version: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_VERSION)
        try:
            ask_version(b"", timeout=_ANSWER_TIMEOUT)  # an empty VersionRequest
        except grpc.RpcError:
            return False
    return True


def ctr(node: Node, *arguments: str | Path, stdin: IO[bytes] | None = None) -> str:
    """Ask a node's containerd.

    Raises:
        LabError: It refused, or does not run.
    """
    return run(
        ["ctr", "--address", socket(node), "--namespace", _NAMESPACE, *arguments], stdin=stdin, timeout=_IMPORT_TIMEOUT
    )


def load(node: Node, image: Image, names: Sequence[str]) -> None:
    """Give a node an image under some names, sending only the blobs that it lacks.

    Raises:
        LabError: containerd refused it.
    """
    present = set(ctr(node, "content", "ls", "--quiet").split())
    # The manifest goes along always: containerd reads it from the archive to know what it is to import.
    missing = [blob for blob in image.blobs if blob.digest not in present or blob == image.manifest]
    with tempfile.TemporaryFile() as archive:
        image.write_archive(archive, names, missing)
        archive.seek(0)
        ctr(node, "images", "import", "--digests=false", "-", stdin=archive)


def _config_file(node: Node) -> Path:
    return node.files / "containerd.toml"


def _config(node: Node) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{node.files / "containerd"}"
state = "{node.run / "containerd"}"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "{socket(node)}"

[plugins."io.containerd.internal.v1.opt"]
path = "{node.files / "opt"}"

[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
# Lowering an oom_score_adj takes a capability that containers of machines such as CI's do not have.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_apparmor = true

[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{node.files / "cni"}"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
Root = "{node.run / "runc"}"
"""


def _cni(node: Node) -> dict[str, object]:
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(node.run / "addresses"),
                    "ranges": [[{"subnet": str(node.pods)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
