"""The command `moln-lab`: words into calls of `Lab`, errors into one clear message and exit status 1."""

import argparse
import os
import sys

from moln_lab.block import BlockError
from moln_lab.errors import LabError
from moln_lab.lab import Lab
from moln_lab.topology import Settings


def main() -> None:
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (LabError, BlockError) as error:
        print(f"moln-lab: {error}", file=sys.stderr)
        sys.exit(1)


def _parser():
    parser = argparse.ArgumentParser(prog="moln-lab")
    parser.add_argument("--name", default="lab")
    verbs = parser.add_subparsers(required=True)
    up = verbs.add_parser("up"); up.add_argument("--nodes", type=int, default=3); up.set_defaults(run=lambda a: Lab(Settings.of(a.name, a.nodes)).up())
    down = verbs.add_parser("down"); down.set_defaults(run=lambda a: Lab(Settings.of(a.name)).down())
    im = verbs.add_parser("images"); im.set_defaults(run=lambda a: print(Lab.existing(a.name).images()))
    return parser
