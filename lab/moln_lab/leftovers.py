"""Files that other people's programs leave outside the lab's folders, each found by a link to what is the lab's own."""

from contextlib import suppress
from pathlib import Path

from moln_lab.topology import Topology

_CONTAINER_LOGS = Path("/var/log/containers")


def remove(topology: Topology) -> None:
    """Remove the kubelets' links to container logs and the sockets of containerd's shims, while the state is there."""
    if _CONTAINER_LOGS.exists():
        for link in _CONTAINER_LOGS.iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(topology.state):
                link.unlink(missing_ok=True)
    for address in (topology.state / "run").glob("*/containerd/io.containerd.runtime.v2.task/*/*/address"):
        with suppress(FileNotFoundError):
            Path(address.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
