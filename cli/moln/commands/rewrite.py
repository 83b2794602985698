"""`moln rewrite`: what is kept already comes to be as classes and rules are today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click
from pydantic import Field

from moln.commands.tasks import Request, run, unlisted, unlisted_words
from moln.errors import CliError, Exit
from moln.output import Output, size_text
from moln.watching.choose import with_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln.commands.tasks import Task
    from moln.watching.snapshot import Source


class _Request(Request):
    kind: Literal["reassign", "rewrite"]
    dry_run: bool = Field(serialization_alias="dryRun")
    bucket: str
    prefix: str


@click.command()
@with_source
@click.option("--bucket", default="", help="Only objects of this bucket.")
@click.option("--prefix", default="", help="Only keys that begin with this.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done, key by key, and about how many bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rewrite(source: Source, bucket: str, prefix: str, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Bring what is kept already to what storage classes and assignment rules say today.

    An edit of either concerns new objects alone; this does it for those of before, all versions of them. First objects
    that rules would have in another class get that one, but for those whose class a client asked for. Then every node
    packs what is on its disk as its class says: compression, its level, deduplication. Contents, ETags, version ids and
    times stay, and clients go on meanwhile. It is paced: `moln status` shows how far it is, also when this command was
    stopped. Asked for again it does what is left.
    """
    doors = source.doors()
    moved = run(doors, _Request(kind="reassign", dry_run=dry_run, bucket=bucket, prefix=prefix))
    _require_done(moved)
    packed = run(doors, _Request(kind="rewrite", dry_run=dry_run, bucket=bucket, prefix=prefix))
    classes = {name: _sum(moved, name) for name in ("differing", "bytes", "reassigned", "unanswered")}
    copies = {
        name: _sum(packed, name) for name in ("versions", "differing", "bytes", "before", "after", "rewritten", "bad")
    }
    findings = [finding for task in moved.values() for finding in task.findings]
    findings += [f"{name}: {finding}" for name, task in sorted(packed.items()) for finding in task.findings]
    more = unlisted(moved) + unlisted(packed)
    document = {"dry_run": dry_run, "classes": classes, "copies": copies, "findings": findings, "unlisted": more}
    cuts = [*unlisted_words(moved), *unlisted_words(packed)]
    Output(as_json).show(document, "\n".join([*findings, *cuts, _words(classes, copies, dry_run=dry_run)]))
    _require_done(packed)
    if classes["unanswered"]:
        raise CliError(f"of {classes['unanswered']} versions too few owners answer: try again later", Exit.UNREACHABLE)
    if copies["bad"]:
        raise CliError(f"{copies['bad']} copies are damaged, and stay as they are until they are healed", Exit.CORRUPT)


def _sum(tasks: Mapping[str, Task], counter: str) -> int:
    return sum(task.progress.get(counter, 0) for task in tasks.values())


def _words(classes: Mapping[str, int], copies: Mapping[str, int], *, dry_run: bool) -> str:
    before, after = size_text(copies["before"]), size_text(copies["after"])
    if dry_run:
        return (
            f"{copies['versions']} copies looked at; {classes['differing']} versions get another class; "
            f"{copies['differing']} copies to rewrite: {before} on the disks, about {after} then"
        )
    return (
        f"{copies['versions']} copies looked at; {classes['reassigned']} versions got another class; "
        f"{copies['rewritten']} copies rewritten: {before} on the disks before, {after} now"
    )


def _require_done(tasks: Mapping[str, Task]) -> None:
    failed = {name: task.error for name, task in tasks.items() if task.state != "done"}
    if failed:
        raise CliError("; ".join(f"{name}: {why or 'it did not end'}" for name, why in failed.items()))
