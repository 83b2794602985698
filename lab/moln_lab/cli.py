"""The command `moln-lab`: words into calls of `Lab` and `Faults`, errors into one clear message and exit status 1."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from moln_lab import status
from moln_lab.block import BlockError
from moln_lab.errors import LabError
from moln_lab.faults import Faults
from moln_lab.lab import Lab
from moln_lab.topology import MAX_NODES, Settings


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except (LabError, BlockError) as error:
        print(f"moln-lab: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moln-lab", description="A real Kubernetes on this machine, for development.")
    parser.add_argument("--name", default="lab", help="which lab; several can run beside each other (default: lab)")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    up = verbs.add_parser("up", help="start what is not running; safe to repeat")
    up.add_argument("--nodes", type=int, default=3, help=f"how many, 1 to {MAX_NODES} (default: 3)")
    up.set_defaults(run=_up)
    verbs.add_parser("down", help="remove everything but the cache").set_defaults(run=_down)
    verbs.add_parser("status", help="a line per node").set_defaults(run=_status)
    verbs.add_parser("images", help="build the project's image and load it into the nodes").set_defaults(run=_images)
    verbs.add_parser("env", help='for the shell: eval "$(moln-lab env)"').set_defaults(run=_env)
    for program in ("kubectl", "helm"):
        verb = verbs.add_parser(program, add_help=False, help=f"run {program} on the lab", prefix_chars="\0")
        verb.add_argument("words", nargs=argparse.REMAINDER)
        verb.set_defaults(run=_pass_on, program=program)
    _add_node(verbs.add_parser("node", help="take a node's power, or give it back"))
    _add_net(verbs.add_parser("net", help="cut or delay the network between hosts, or heal it"))
    return parser


def _add_node(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    kill = verbs.add_parser("kill", help="end its kubelet and all its containers, at once")
    kill.set_defaults(run=lambda arguments: _faults(arguments).kill_node(arguments.node))
    start = verbs.add_parser("start", help="boot it, and wait until it is Ready")
    start.set_defaults(run=lambda arguments: _faults(arguments).start_node(arguments.node))
    for verb in (kill, start):
        verb.add_argument("node", metavar="NODE")


def _add_net(parser: argparse.ArgumentParser) -> None:
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


def _up(arguments: argparse.Namespace) -> None:
    lab = Lab(Settings.of(arguments.name, arguments.nodes))
    lab.up()
    print(status.table(lab.status()))
    print(f"\nexport KUBECONFIG={lab.topology.kubeconfig}")


def _down(arguments: argparse.Namespace) -> None:
    Lab(Settings.of(arguments.name)).down()


def _status(arguments: argparse.Namespace) -> None:
    print(status.table(Lab.existing(arguments.name).status()))


def _images(arguments: argparse.Namespace) -> None:
    print(Lab.existing(arguments.name).images())


def _env(arguments: argparse.Namespace) -> None:
    lab = Lab.existing(arguments.name)
    print(f"export KUBECONFIG={lab.topology.kubeconfig}\nexport PATH={lab.programs}:$PATH")


def _pass_on(arguments: argparse.Namespace) -> None:
    lab = Lab.existing(arguments.name)
    environment = {**os.environ, "KUBECONFIG": str(lab.topology.kubeconfig)}
    os.execve(lab.programs / arguments.program, [arguments.program, *arguments.words], environment)  # noqa: S606


def _heal(arguments: argparse.Namespace) -> None:
    if (arguments.a is None) != (arguments.b is None):
        raise LabError("`net heal` takes two hosts, or none for all of them")
    _faults(arguments).heal(arguments.a, arguments.b)


def _faults(arguments: argparse.Namespace) -> Faults:
    return Faults(Lab.existing(arguments.name))
