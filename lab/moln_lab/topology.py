"""What the lab consists of: its hosts, their names, zones and addresses, and where their files lie. Pure.

Everything is derived from the settings, so that any command finds again what an earlier one made, and two labs with
different names share nothing.
"""

import os
import re
import zlib
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from moln_lab.errors import LabError

MAX_NODES = 5
ZONES = ("zone-a", "zone-b", "zone-c")
REGION = "lab"
SERVICES = IPv4Network("10.96.0.0/16")
API_SERVICE = SERVICES[1]
DNS_SERVICE = SERVICES[10]
DNS_DOMAIN = "cluster.local"
API_PORT = 6443
CONTROL = "control"
"""The name of the control plane's host, beside node-1 and so on."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person chooses about a lab."""

    name: str
    nodes: int
    state: Path
    cache: Path

    @staticmethod
    def of(name: str | None = None, nodes: int = 3) -> "Settings":
        """Fill in the defaults, from MOLN_LAB_NAME, MOLN_LAB_STATE and MOLN_LAB_CACHE where they are set.

        Raises:
            LabError: The name or the number of nodes is out of bounds.
        """
        name = name or os.environ.get("MOLN_LAB_NAME") or "lab"
        if not re.fullmatch(r"[a-z][a-z0-9]{0,9}", name):
            raise LabError(
                f"a lab's name is 1 to 10 lower-case letters and digits, beginning with a letter: not {name!r}"
            )
        if not 1 <= nodes <= MAX_NODES:
            raise LabError(f"a lab has 1 to {MAX_NODES} nodes, not {nodes}")
        # The state folder that is chosen is the lab's that is named "lab"; others lie beside it.
        chosen = Path(os.environ.get("MOLN_LAB_STATE") or "/var/lib/moln-lab").absolute()
        return Settings(
            name=name,
            nodes=nodes,
            state=chosen if name == "lab" else chosen.with_name(f"moln-{name}"),
            cache=Path(os.environ.get("MOLN_LAB_CACHE") or Path.home() / ".cache/moln-lab").absolute(),
        )


@dataclass(frozen=True, slots=True)
class Host:
    """One machine of the lab: a network namespace and a cgroup of its own."""

    name: str
    address: IPv4Address
    netns: Path
    cgroup: str
    """The cgroup's path below each hierarchy, without a leading slash."""


@dataclass(frozen=True, slots=True)
class Node(Host):
    """A host that runs pods."""

    zone: str
    pods: IPv4Network
    files: Path
    """What the node keeps when its power goes: images, containers' writable layers, kubelet's volumes."""
    run: Path
    """What it does not keep: sockets and the state of running containers."""


class Topology:
    """All hosts of one lab and the names it uses on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = settings.name
        self.state = settings.state
        index = 0 if settings.name == "lab" else 1 + zlib.crc32(settings.name.encode()) % 99
        self.network = IPv4Network(f"10.89.{index}.0/24")
        """Where hosts have their addresses."""
        self.pods = IPv4Network(f"10.{100 + index}.0.0/16")
        self.machine = self.network[254]
        """This machine's own address on the lab's network."""
        self.link = f"moln-{settings.name}"
        """The machine's end of the cable to the lab."""
        self.cgroup = f"moln-{settings.name}"
        self.control = Host(CONTROL, self.network[1], self.state / "netns" / CONTROL, f"{self.cgroup}/{CONTROL}")
        self.nodes = tuple(self._node(number) for number in range(1, settings.nodes + 1))
        self.kubeconfig = self.state / "kubeconfig"
        self.pki = self.state / "pki"

    def _node(self, number: int) -> Node:
        name = f"node-{number}"
        return Node(
            name=name,
            address=self.network[10 + number],
            netns=self.state / "netns" / name,
            cgroup=f"{self.cgroup}/{name}",
            zone=ZONES[(number - 1) % len(ZONES)],
            pods=IPv4Network((int(self.pods.network_address) + number * 256, 24)),
            files=self.state / "nodes" / name,
            run=self.state / "run" / name,
        )

    @property
    def api(self) -> str:
        """The API server's URL, for this machine and every host."""
        return f"https://{self.control.address}:{API_PORT}"

    def node(self, name: str) -> Node:
        """Return the node of that name.

        Raises:
            LabError: There is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"no node is called {name!r}; there are {', '.join(node.name for node in self.nodes)}")

    def host(self, name: str) -> Host:
        """Return the node of that name, or the control plane's host.

        Raises:
            LabError: There is none.
        """
        return self.control if name == CONTROL else self.node(name)
