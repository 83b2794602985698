"""`moln scrub`: every node reads back all that is on its disk, and heals what is damaged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import click

from moln.commands.tasks import Request, run, unlisted, unlisted_words
from moln.errors import CliError, Exit
from moln.output import Output, size_text
from moln.watching.choose import with_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln.commands.tasks import Task
    from moln.watching.snapshot import Source


class _Request(Request):
    kind: Literal["scrub"] = "scrub"


@click.command()
@with_source
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scrub(source: Source, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Read back every byte of every copy, and replace what is damaged by a good copy of another owner.

    Every node does so by itself, slowly, again and again (`--scrub-days` of moln-node); this does it now, as fast as
    the disks can, one object of a node at a time. A node goes on with it when this command is stopped. On a terminal it
    shows how far it is.
    """
    done = run(source.doors(), _Request(), _show if sys.stderr.isatty() else lambda _: None)
    total = _sums(done)
    findings = [f"{name}: {finding}" for name, task in sorted(done.items()) for finding in task.findings]
    document = {**total, "findings": findings, "unlisted": unlisted(done)}
    Output(as_json).show(document, "\n".join([*findings, *unlisted_words(done), _words(total)]))
    failed = {name: task.error for name, task in done.items() if task.state != "done"}
    if failed:
        raise CliError("; ".join(f"{name}: {why or 'it did not end'}" for name, why in failed.items()))
    if total["unhealed"]:
        raise CliError(f"{total['unhealed']} copies are damaged, and no other owner has them good", Exit.CORRUPT)


def _sums(tasks: Mapping[str, Task]) -> dict[str, int]:
    names = ("records", "bodies", "bytes", "bad", "healed", "unhealed")
    return {name: sum(task.progress.get(name, 0) for task in tasks.values()) for name in names}


def _words(total: Mapping[str, int]) -> str:
    read = f"{total['records']} records and {total['bodies']} bodies read back, {size_text(total['bytes'])}"
    return f"{read}; {total['bad']} damaged, {total['healed']} healed"


def _show(tasks: Mapping[str, Task]) -> None:
    """One line on stderr, written over again and again."""
    running = sum(task.state == "running" for task in tasks.values())
    print(f"\r\x1b[K{running} nodes at it: {_words(_sums(tasks))}", end="\r", file=sys.stderr, flush=True)
