"""Breaking the lab on purpose: nodes that lose their power, and a network that is cut or slow. For tests, and by hand.

The network's faults live in the bridge that joins all hosts, so a host can't notice them but by silence, and a node
that reboots does not undo them. Faults of volumes are in `moln_lab.volumes`.
"""

import sys
from itertools import permutations

from moln_lab import network
from moln_lab.errors import LabError
from moln_lab.lab import Lab
from moln_lab.processes import Program
from moln_lab.progress import wait_for
from moln_lab.topology import CONTROL, Host

_TABLE = "moln_faults"
_SETUP = f"""\
table bridge {_TABLE} {{
  set cut {{ type ether_addr . ether_addr; }}
  chain between {{ type filter hook forward priority 0; ether saddr . ether daddr @cut drop; }}
  chain to_control {{ type filter hook input priority 0; ether saddr . ether daddr @cut drop; }}
  chain from_control {{ type filter hook output priority 0; ether saddr . ether daddr @cut drop; }}
}}
"""
_DIVERT = """\
table netdev {tap} {{
  chain divert {{ type filter hook ingress device {port} priority 0; ether daddr {target} fwd to {tap}; }}
}}
"""


class Faults:
    """The faults of one running lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._topology = lab.topology

    def kill_node(self, name: str) -> None:
        """Take a node's power: its kubelet, its runtime and all containers end at one moment, by SIGKILL.

        Its disk stays as it is. Kubernetes notices by its silence, about 16 s later.

        Raises:
            LabError: There is no such node.
        """
        self._lab.power_off(self._topology.node(name))

    def start_node(self, name: str) -> None:
        """Give a node its power back and wait until Kubernetes takes it for Ready.

        Raises:
            LabError: There is no such node, or it did not become Ready.
        """
        self._lab.power_on(self._topology.node(name))

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Drop all that one host sends to another, and, unless `one_way`, what the other sends back.

        Args:
            a: A node's name, or `control` for the control plane's host.
            b: The other one's.
            one_way: Only what `a` sends to `b` is lost.

        Raises:
            LabError: There is no such host, or both are the same.
        """
        if _named("bridge", _TABLE) not in self._nft("list tables"):
            self._nft(_SETUP)
        for source, target in self._directions(a, b, one_way=one_way):
            self._nft(f"add element bridge {_TABLE} cut {{ {self._pair(source, target)} }}")

    def delay(self, a: str, b: str, milliseconds: int, *, one_way: bool = False) -> None:
        """Let all that one node sends to another arrive later, and, unless `one_way`, what the other sends back.

        Raises:
            LabError: There is no such node, or both are the same.
        """
        if milliseconds <= 0:
            raise LabError(f"a delay is more than 0 milliseconds, not {milliseconds}: `net heal` takes it away")
        if CONTROL in {a, b}:
            raise LabError("only what nodes send to each other can be delayed; the control plane can be cut off")
        tables = self._nft("list tables")
        for source, target in self._directions(a, b, one_way=one_way):
            self._stop_delay(source, target, tables)
            self._start_delay(source, target, milliseconds)

    def heal(self, a: str | None = None, b: str | None = None) -> None:
        """Take away what `cut` and `delay` did between two hosts, or between all.

        Raises:
            LabError: There is no such host.
        """
        tables = self._nft("list tables")
        if a is None or b is None:
            for source, target in permutations((self._topology.control, *self._topology.nodes), 2):
                self._stop_delay(source, target, tables)
            if _named("bridge", _TABLE) in tables:
                self._nft(f"delete table bridge {_TABLE}")
            return
        for source, target in self._directions(a, b, one_way=False):
            self._stop_delay(source, target, tables)
            if _named("bridge", _TABLE) in tables:
                self._mend(source, target)

    def heal_everything(self) -> None:
        """Leave no fault: every node runs, every link is whole. What a test calls last."""
        self.heal()
        self._lab.power_on(*self._topology.nodes)

    def _directions(self, a: str, b: str, *, one_way: bool) -> list[tuple[Host, Host]]:
        first, second = self._topology.host(a), self._topology.host(b)
        if first == second:
            raise LabError(f"a network fault is between two hosts, and {a} is one")
        return [(first, second)] if one_way else [(first, second), (second, first)]

    def _mend(self, source: Host, target: Host) -> None:
        if (pair := self._pair(source, target)) in self._nft(f"list set bridge {_TABLE} cut"):
            self._nft(f"delete element bridge {_TABLE} cut {{ {pair} }}")

    def _pair(self, source: Host, target: Host) -> str:
        return f"{network.hardware_address(source)} . {network.hardware_address(target)}"

    def _start_delay(self, source: Host, target: Host, milliseconds: int) -> None:
        tap = _tap(source, target)
        program = Program(
            name=f"delay.{source.name}.{target.name}",
            argv=(sys.executable, "-m", "moln_lab.delay", tap, target.name, str(milliseconds)),
            netns=self._topology.control.netns,
            cgroup=f"{self._topology.cgroup}/delay-{tap}",
        )
        self._lab.processes.ensure(program)

        def tap_is_there() -> bool:
            self._lab.processes.check(program.name)
            return network.has_link(self._topology.control, tap)

        wait_for(tap_is_there, f"{program.name}'s start", timeout=10, poll=0.05)
        self._nft(_DIVERT.format(tap=tap, port=source.name, target=network.hardware_address(target)))

    def _stop_delay(self, source: Host, target: Host, tables: str) -> None:
        if _named("netdev", _tap(source, target)) in tables:
            self._nft(f"delete table netdev {_tap(source, target)}")
        self._lab.processes.stop(f"delay.{source.name}.{target.name}")

    def _nft(self, commands: str) -> str:
        return network.inside(self._topology.control, "nft", "-f", "-", stdin=commands.encode() + b"\n")


def _tap(source: Host, target: Host) -> str:
    """Return the name of the device that what `source` sends to `target` is led through."""
    return f"{source.name}_{target.name}".replace("node-", "n")


def _named(family: str, table: str) -> str:
    """Return the line by which nft lists a table."""
    return f"table {family} {table}\n"
