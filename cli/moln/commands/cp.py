"""`moln cp`: files to objects, objects to files, objects to objects; with -r whole folders and prefixes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moln.client import errors_about
from moln.commands.uploading import attributes, parse_part_size, upload_options
from moln.errors import CliError, Exit
from moln.options import Session, with_session
from moln.output import Output, printable, size_text
from moln.s3url import is_s3_url, parse
from moln.transfer import items
from moln.transfer.engine import Engine, Failed, Moved
from moln.transfer.progress import shown
from moln.transfer.upload import UploadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moln.client import Client


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="Everything in the folder or below the prefix.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be copied, and copy nothing.")
@upload_options
@with_session
def cp(
    session: Session,
    source: str,
    target: str,
    recursive: bool,  # noqa: FBT001 (click passes flags so)
    dry_run: bool,  # noqa: FBT001
    part_size: str,
    jobs: int,
    quiet: bool,  # noqa: FBT001
    **said: Any,
) -> None:
    """Copy SOURCE to TARGET; at least one of them is s3://BUCKET[/KEY].

    Run an interrupted copy again: large files go on where they stopped. Every file is compared with the object by
    checksum.
    """
    options = UploadOptions(attributes(**said), {}, parse_part_size(part_size), jobs)
    client = session.client(connections=2 * jobs)
    found = _items(client, source, target, recursive=recursive)
    report = _Report(session.output, quiet=quiet, dry_run=dry_run)
    visible = not quiet and not dry_run and not session.output.as_json and sys.stderr.isatty()
    with shown(f"cp {source}", visible=visible) as progress, errors_about(source):
        if dry_run:
            for item in found:
                report.take(Moved(item, None))
        else:
            Engine(client, options, progress).run(found, report.take)
    report.finish(source)


def _items(client: Client, source: str, target: str, *, recursive: bool) -> Iterator[items.Item]:
    match is_s3_url(source), is_s3_url(target):
        case False, True:
            return items.uploads(Path(source), parse(target), recursive=recursive)
        case True, False:
            return items.downloads(client, parse(source), Path(target), recursive=recursive)
        case True, True:
            return items.copies(client, parse(source), parse(target), recursive=recursive)
    raise CliError("neither SOURCE nor TARGET is s3://BUCKET/KEY: use cp(1) between files", Exit.USAGE)


class _Report:
    """Prints each item, counts, and decides how the command ends."""

    def __init__(self, output: Output, *, quiet: bool, dry_run: bool) -> None:
        self._output = output
        self._quiet = quiet
        self._dry_run = dry_run
        self._moved = 0
        self._errors: list[CliError] = []

    def take(self, outcome: Moved | Failed) -> None:
        """One item arrived or failed."""
        if isinstance(outcome, Failed):
            self._errors.append(outcome.error)
            self._output.show({"error": str(outcome.error), "code": outcome.error.code.name.lower()}, "")
            print(f"moln: {outcome.error}", file=sys.stderr)
            return
        item, result = outcome.item, outcome.result
        if isinstance(item, items.Refused):
            self.take(Failed(item, CliError(f"{item.name}: {item.reason}")))
            return
        self._moved += 1
        document: dict[str, Any] = {"source": str(item.source), "target": str(item.target), "copied": not self._dry_run}
        if result is not None:
            document |= {"size": result.size, "etag": result.etag, "resumed_bytes": result.resumed_bytes}
        size = f"  {size_text(result.size)}" if result is not None else ""
        text = "" if self._quiet else f"{printable(str(item.source))} -> {printable(str(item.target))}{size}"
        self._output.show(document, text)

    def finish(self, source: str) -> None:
        """CliError if anything failed, with the code that all failures share, or if nothing was found."""
        if self._errors:
            codes = {error.code for error in self._errors}
            code = codes.pop() if len(codes) == 1 else Exit.FAILURE
            if len(self._errors) == 1 and not self._moved:
                raise CliError(f"nothing was copied from {source}", code)
            raise CliError(f"{len(self._errors)} of {self._moved + len(self._errors)} could not be copied", code)
        if not self._moved:
            raise CliError(f"{source}: there is nothing to copy", Exit.NOT_FOUND)
