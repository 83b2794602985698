"""The command `moln-lab`: words into calls of `Lab` and `Faults`, errors into one clear message and exit status 1."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from moln_lab import cli_faults, status
from moln_lab.errors import LabError
from moln_lab.lab import Lab
from moln_lab.topology import MAX_NODES, Settings


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except LabError as error:
        print(f"moln-lab: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moln-lab", description="A real Kubernetes on this machine, for development.")
    parser.add_argument("--name", help="which lab; several can run side by side (default: $MOLN_LAB_NAME, or lab)")
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
    cli_faults.add_node(verbs.add_parser("node", help="take a node's power, or give it back"))
    cli_faults.add_net(verbs.add_parser("net", help="cut or delay the network between hosts, or heal it"))
    cli_faults.add_volume(verbs.add_parser("volume", help="list, fill or wipe volumes, or cut their power"))
    return parser


def _up(arguments: argparse.Namespace) -> None:
    lab = Lab(Settings.of(arguments.name, arguments.nodes))
    lab.up()
    print(status.table(lab.status()))
    print(f"\nexport KUBECONFIG={lab.topology.kubeconfig}")


def _down(arguments: argparse.Namespace) -> None:
    Lab(Settings.of(arguments.name)).down()


def _status(arguments: argparse.Namespace) -> None:
    lab = Lab.existing(arguments.name)
    print(status.table(lab.status()))
    print(f"\n{lab.memory() >> 20} MiB of memory held by the lab, its pods included")


def _images(arguments: argparse.Namespace) -> None:
    print(Lab.existing(arguments.name).images())


def _env(arguments: argparse.Namespace) -> None:
    lab = Lab.existing(arguments.name)
    print(f"export KUBECONFIG={lab.topology.kubeconfig}\nexport PATH={lab.programs}:$PATH")


def _pass_on(arguments: argparse.Namespace) -> None:
    lab = Lab.existing(arguments.name)
    environment = {**os.environ, "KUBECONFIG": str(lab.topology.kubeconfig)}
    os.execve(lab.programs / arguments.program, [arguments.program, *arguments.words], environment)  # noqa: S606
