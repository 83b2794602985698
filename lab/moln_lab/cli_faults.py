"""The words of `moln-lab` that break things. Called by `cli`; what they do is in `faults` and `volume_faults`."""

import argparse
from typing import TYPE_CHECKING

from moln_lab import volume_faults
from moln_lab.errors import LabError
from moln_lab.faults import Faults
from moln_lab.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from moln_lab.volume_faults import Volume

_MEBIBYTE = 1 << 20


def add_node(parser: argparse.ArgumentParser) -> None:
    """Add the verbs that take a node's power, and give it back."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    kill = verbs.add_parser("kill", help="end its kubelet and all its containers, at once")
    kill.set_defaults(run=lambda arguments: _faults(arguments).kill_node(arguments.node))
    start = verbs.add_parser("start", help="boot it, and wait until it is Ready")
    start.set_defaults(run=lambda arguments: _faults(arguments).start_node(arguments.node))
    for verb in (kill, start):
        verb.add_argument("node", metavar="NODE")


def add_net(parser: argparse.ArgumentParser) -> None:
    """Add the verbs that cut, delay and heal the network."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    cut = verbs.add_parser("cut", help="lose all that is sent between two hosts")
    cut.set_defaults(run=lambda a: _faults(a).cut(a.a, a.b, one_way=a.one_way))
    delay = verbs.add_parser("delay", help="let all that is sent between two nodes arrive later")
    delay.set_defaults(run=lambda a: _faults(a).delay(a.a, a.b, a.milliseconds, one_way=a.one_way))
    for verb in (cut, delay):
        verb.add_argument("a", metavar="A", help="a node, or `control`")
        verb.add_argument("b", metavar="B")
        verb.add_argument("--one-way", action="store_true", help="only what A sends to B")
    delay.add_argument("milliseconds", metavar="MILLISECONDS", type=int)
    heal = verbs.add_parser("heal", help="take away cuts and delays between two hosts, or all of them")
    heal.add_argument("a", metavar="A", nargs="?")
    heal.add_argument("b", metavar="B", nargs="?")
    heal.set_defaults(run=_heal)


def add_volume(parser: argparse.ArgumentParser) -> None:
    """Add the verbs that list volumes and break them."""
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="a line per volume").set_defaults(run=_list_volumes)
    faults: list[tuple[str, str, Callable[[argparse.Namespace, Lab, Volume], None]]] = [
        ("wipe", "replace it by an empty one; its pods restart", lambda _, lab, v: volume_faults.wipe(lab.topology, v)),
        (
            "power-cut",
            "come back with only what had reached its device; its pods restart",
            lambda _, lab, v: volume_faults.power_cut(lab.topology, v),
        ),
        (
            "fill",
            "leave so little space free",
            lambda arguments, _, v: volume_faults.fill(v, arguments.leave * _MEBIBYTE),
        ),
        ("unfill", "give back the space that fill took", lambda _, __, v: volume_faults.unfill(v)),
    ]
    for word, text, fault in faults:
        verb = verbs.add_parser(word, help=text)
        verb.add_argument("volume", metavar="VOLUME", help="a claim as [NAMESPACE/]CLAIM, or a PersistentVolume")
        verb.set_defaults(run=_on_volume, fault=fault)
        if word == "fill":
            verb.add_argument("--leave", type=int, default=0, metavar="MIB", help="MiB left free (default: 0)")


def _heal(arguments: argparse.Namespace) -> None:
    if (arguments.a is None) != (arguments.b is None):
        raise LabError("`net heal` takes two hosts, or none for all of them")
    _faults(arguments).heal(arguments.a, arguments.b)


def _on_volume(arguments: argparse.Namespace) -> None:
    lab = Lab.existing(arguments.name)
    arguments.fault(arguments, lab, volume_faults.find(lab.topology, arguments.volume))


def _list_volumes(arguments: argparse.Namespace) -> None:
    for volume in volume_faults.list_volumes(Lab.existing(arguments.name).topology):
        used = "not mounted" if volume.used is None else f"{volume.used // _MEBIBYTE} MiB used"
        size = f"{volume.size // _MEBIBYTE} MiB"
        print(f"{volume.node}  {volume.namespace}/{volume.claim}  {size}  {used}  {volume.name}")


def _faults(arguments: argparse.Namespace) -> Faults:
    return Faults(Lab.existing(arguments.name))
