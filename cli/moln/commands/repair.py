"""`moln repair`: every node compares what it owns with its other owners, and what one lacks it gets."""

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

    from moln.watching.snapshot import Source


class _Request(Request):
    kind: Literal["repair"] = "repair"
    dry_run: bool = Field(serialization_alias="dryRun")


@click.command()
@with_source
@click.option("--dry-run", is_flag=True, help="Only tell what would be done, key by key, and how many bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def repair(source: Source, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Compare all copies of everything, and bring each owner what it lacks.

    The cloud does so by itself, from time to time and where it knows of a missed write; this does it now.
    """
    done = run(source.doors(), _Request(dry_run=dry_run))
    names = ("registers", "differing", "rows", "bytes", "repaired", "unanswered")
    total = {name: sum(task.progress.get(name, 0) for task in done.values()) for name in names}
    findings = [finding for task in done.values() for finding in task.findings]
    document = {"dry_run": dry_run, **total, "findings": findings, "unlisted": unlisted(done)}
    Output(as_json).show(document, "\n".join([*findings, *unlisted_words(done), _sum(total, dry_run=dry_run)]))
    failed = {name: task.error for name, task in done.items() if task.state != "done"}
    if failed:
        raise CliError("; ".join(f"{name}: {why or 'it did not end'}" for name, why in failed.items()))
    if total["unanswered"]:
        raise CliError(f"of {total['unanswered']} copies the owner does not answer: try again later", Exit.UNREACHABLE)


def _sum(total: Mapping[str, int], *, dry_run: bool) -> str:
    size = size_text(total["bytes"])
    said = f"{total['registers']} copies compared; {total['differing']} keys differ, {size} to bring"
    return said if dry_run else f"{said}; {total['repaired']} put right"
