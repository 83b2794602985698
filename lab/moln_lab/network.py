"""The lab's wires: a network namespace per host, joined by a bridge, and one cable to this machine.

    machine (moln-NAME) ---- br0 of the control plane's host ---- eth0 of node-1, node-2, ...

Called by `boot`, `hosts`, `lab` (remove) and `faults`. A host's default route leads into a cable that ends nowhere:
a Service's address can be translated because a route exists, and nothing can leave the machine. All `ensure`
functions are idempotent; what they make in this machine's own namespace is the one link that the topology names.
"""

from collections.abc import Sequence
from pathlib import Path

from moln_lab.block import mounts
from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.topology import Host, Node, Topology

_BRIDGE = "br0"
_NOWHERE = "nowhere"


def inside(host: Host, *argv: str | Path, stdin: bytes | None = None) -> str:
    """Run a program in a host's network namespace and return its output.

    Raises:
        LabError: It failed.
    """
    return run(["nsenter", f"--net={host.netns}", "--", *argv], stdin=stdin)


def ensure_control(topology: Topology) -> None:
    """Lay the bridge and the cable to this machine.

    Raises:
        LabError: The addresses belong to something else.
    """
    control = topology.control
    _ensure_namespace(control)
    if not has_link(control, _BRIDGE):
        _configure(
            control,
            [
                "link set lo up",
                f"link add {_BRIDGE} type bridge",
                f"link set {_BRIDGE} up",
                f"address add {control.address}/{topology.network.prefixlen} dev {_BRIDGE}",
            ],
        )
        _ensure_way_out(control)
        # Frames that only pass over this bridge are the cable, and no business of a host's packet filter.
        _set(control, "bridge/bridge-nf-call-iptables", "0")
        _set(control, "ipv4/ip_forward", "1")
    if not has_link(control, "machine"):
        _ensure_addresses_are_free(topology)
        run(["ip", "link", "add", topology.link, "type", "veth", "peer", "name", "machine", "netns", control.netns])
        _configure(control, [f"link set machine master {_BRIDGE}", "link set machine up"])
        run(["ip", "address", "add", f"{topology.machine}/{topology.network.prefixlen}", "dev", topology.link])
        run(["ip", "link", "set", topology.link, "up"])


def ensure_node(topology: Topology, node: Node) -> None:
    """Lay a node's cable and its routes."""
    _ensure_namespace(node)
    if not has_link(topology.control, node.name):
        inside(
            topology.control,
            "ip",
            "link",
            "add",
            node.name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            node.netns,
        )
        _configure(topology.control, [f"link set {node.name} master {_BRIDGE}", f"link set {node.name} up"])
    _configure(
        node,
        [
            "link set lo up",
            "link set eth0 up",
            f"address replace {node.address}/{topology.network.prefixlen} dev eth0",
        ],
    )
    _ensure_way_out(node)
    _set(node, "ipv4/ip_forward", "1")


def ensure_routes(topology: Topology, node: Node) -> None:
    """Tell a node where the others' pods are, and the control plane and this machine where its own are."""
    others = [other for other in topology.nodes if other != node]
    _configure(node, [f"route replace {other.pods} via {other.address}" for other in others])
    route = f"route replace {node.pods} via {node.address}"
    _configure(topology.control, [route])
    run(["ip", *route.split()])


def remove(topology: Topology) -> None:
    """Take out this machine's end of the cable; the rest goes with its namespaces when they are unmounted."""
    if f"{topology.link}:" in run(["ip", "-o", "link"]).replace("@", ":@"):
        run(["ip", "link", "delete", topology.link])


def disconnect(topology: Topology, node: Node) -> None:
    """Take a node's cable out of the bridge for good."""
    if is_namespace(topology.control.netns) and has_link(topology.control, node.name):
        inside(topology.control, "ip", "link", "delete", node.name)


def is_namespace(file: Path) -> bool:
    """Tell whether a file is a network namespace's name."""
    return any(mount.target == file and mount.fstype == "nsfs" for mount in mounts())


def has_link(host: Host, link: str) -> bool:
    """Tell whether a host has a network device of that name."""
    names = {line.split(": ")[1].split("@")[0] for line in inside(host, "ip", "-o", "link").splitlines()}
    return link in names


def hardware_address(host: Host) -> str:
    """Return the MAC address by which a host is known on the lab's network."""
    device = "eth0" if isinstance(host, Node) else _BRIDGE
    words = inside(host, "ip", "-o", "link", "show", "dev", device).split()
    return words[words.index("link/ether") + 1]


def _ensure_namespace(host: Host) -> None:
    if is_namespace(host.netns):
        return
    host.netns.parent.mkdir(parents=True, exist_ok=True)
    host.netns.touch()
    run(["unshare", f"--net={host.netns}", "true"])


def _ensure_way_out(host: Host) -> None:
    if not has_link(host, _NOWHERE):
        _configure(
            host,
            [
                f"link add {_NOWHERE} type veth peer name {_NOWHERE}-end",
                f"link set {_NOWHERE} up",
                f"link set {_NOWHERE}-end up",
                f"route add default dev {_NOWHERE}",
            ],
        )


def _ensure_addresses_are_free(topology: Topology) -> None:
    for line in run(["ip", "-o", "-4", "address"]).splitlines():
        _, link, _, address, *_ = line.split()
        if address.startswith(f"{topology.machine}/") and link != topology.link:
            raise LabError(
                f"{link} has the address {address}, which the lab {topology.name!r} needs: choose another --name"
            )


def _configure(host: Host, commands: Sequence[str]) -> None:
    inside(host, "ip", "-batch", "-", stdin="\n".join(commands).encode() + b"\n")


def _set(host: Host, setting: str, value: str) -> None:
    inside(host, "sh", "-c", f"test ! -e /proc/sys/net/{setting} || echo {value} > /proc/sys/net/{setting}")
