"""`moln letters`: the dead letters of every node, and what is to become of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import click

from moln.commands.tasks import Request, run
from moln.errors import CliError, Exit
from moln.output import Output, size_text
from moln.watching.choose import with_source

if TYPE_CHECKING:
    from moln.watching.snapshot import Source

_DONE: Final = {"list": "", "replay": "; all are tried again", "drop": "; all are dropped"}


class _Request(Request):
    kind: Literal["letters"] = "letters"
    action: Literal["list", "replay", "drop"]


@click.command()
@with_source
@click.option("--replay", "action", flag_value="replay", help="Try all of them again.")
@click.option("--drop", "action", flag_value="drop", help="Give all of them up, for good: what they hold is lost.")
@click.option("--yes", is_flag=True, help="Do not ask before dropping.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def letters(source: Source, action: Literal["replay", "drop"] | None, yes: bool, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """List dead letters: writes that one disk acknowledged (`write: one`) and could not bring to the other owners.

    Each is told with the reason: the bucket was deleted meanwhile, the bytes are damaged, or it was tried for days.
    They stay on their disk until they are replayed or dropped. Of a node at most a hundred are listed; the sums are of
    all.
    """
    if action == "drop" and not yes:
        click.confirm("Every dead letter of this cloud is dropped, and what it holds with it. Go on?", abort=True)
    done = run(source.doors(), _Request(action=action or "list"))
    total = {name: sum(task.progress.get(name, 0) for task in done.values()) for name in ("letters", "bytes", "owed")}
    findings = [f"{name}: {finding}" for name, task in sorted(done.items()) for finding in task.findings]
    said = (
        f"{total['letters']} dead letters, {size_text(total['bytes'])}{_DONE[action or 'list']}; {total['owed']} owed"
    )
    document = {
        "action": action or "list",
        "count": total["letters"],
        "bytes": total["bytes"],
        "owed": total["owed"],
        "letters": findings,
    }
    Output(as_json).show(document, "\n".join([*findings, said]))
    failed = {name: task.error for name, task in done.items() if task.state != "done"}
    if failed:
        raise CliError("; ".join(f"{name}: {why or 'it did not end'}" for name, why in failed.items()))
    if total["letters"] and action is None:
        raise CliError("there are dead letters: replay or drop them", Exit.FAILURE)
