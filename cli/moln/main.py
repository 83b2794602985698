"""The command `moln`: finds the command that was asked for, and shows errors the same way everywhere.

Commands are imported when they are run, so that `moln --help` and completion stay quick.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Final

import click

from moln.errors import CliError, Exit

# command: (where it is, the line that `moln --help` shows)
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "dev": ("moln.dev.command:dev", "run a cloud on this machine from its YAML, without Kubernetes"),
    "put": ("moln.commands.put:put", "write a file or standard input to an object"),
    "get": ("moln.commands.get:get", "read an object to a file or standard output"),
    "cp": ("moln.commands.cp:cp", "copy files and folders to or from a bucket, in parallel, resumable"),
    "ls": ("moln.commands.ls:ls", "list buckets, or the objects of a bucket"),
    "stat": ("moln.commands.stat:stat", "show everything about an object or a bucket"),
    "rm": ("moln.commands.rm:rm", "delete objects"),
    "mb": ("moln.commands.buckets:mb", "make a bucket"),
    "rb": ("moln.commands.buckets:rb", "remove an empty bucket"),
    "status": ("moln.commands.status:status", "show how a running cloud is: nodes, room, copies"),
    "top": ("moln.commands.top:top", "watch a running cloud: requests, throughput, repair"),
    "health": ("moln.commands.health:health", "tell by an exit code whether a cloud is all right"),
    "presign": ("moln.commands.presign:presign", "make a URL that lets anyone read or write one object for a while"),
    "where": ("moln.commands.where:where", "tell which nodes own an object, and what each of them has"),
    "repair": ("moln.commands.repair:repair", "compare all copies, and bring each owner what it lacks"),
    "scrub": ("moln.commands.scrub:scrub", "read back every copy now, and heal what is damaged"),
    "rebalance": ("moln.commands.rebalance:rebalance", "tell what a change of nodes moves, before or while it does"),
    "rewrite": ("moln.commands.rewrite:rewrite", "bring objects of before to what classes and rules say today"),
    "letters": ("moln.commands.letters:letters", "list, replay or drop writes that could not be brought to all owners"),
    "explain": ("moln.commands.explain:explain", "tell which storage class an object would get, and why"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{name} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table, without importing a single command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="moln", prog_name="moln")
def cli() -> None:
    """Storage clouds on machines you own.

    Objects are named s3://BUCKET/KEY. Endpoint and keys come from flags, from the environment (MOLN_ENDPOINT,
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or from a profile such as the one that `moln dev` writes.
    """


def show_error(error: CliError, *, as_json: bool) -> None:
    """One line on stderr, or the same as JSON."""
    if as_json:
        document = {"error": str(error), "code": error.code.name.lower().replace("_", "-")}
        print(json.dumps(document), file=sys.stderr)
    else:
        print(f"moln: {error}", file=sys.stderr)


def main() -> int:
    """Run the command line of this process; returns its exit code."""
    try:
        result = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        print("moln: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except CliError as error:
        show_error(error, as_json="--json" in sys.argv[1:])
        return error.code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone, e.g. `moln ls | head`
        return Exit.FAILURE
    return result if isinstance(result, int) else Exit.OK
