"""`moln rm`: delete objects by name, or everything below a prefix, a thousand at a time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from moln.client import Client, errors_about
from moln.commands.ls import entries
from moln.errors import CliError, Exit
from moln.options import Session, with_session
from moln.output import Output, printable
from moln.s3url import S3Url, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH: Final = 1000


@click.command()
@click.argument("urls", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Everything whose key begins with the URL's.")
@click.option("--versions", is_flag=True, help="With -r: every version and delete marker, for good.")
@click.option("--version-id", help="This version only.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before emptying a whole bucket.")
@with_session
def rm(
    session: Session,
    urls: tuple[str, ...],
    recursive: bool,  # noqa: FBT001 (click passes flags so)
    versions: bool,  # noqa: FBT001
    version_id: str | None,
    dry_run: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
) -> None:
    """Delete URLS (s3://BUCKET/KEY). Deleting what is not there succeeds, as in S3."""
    places = [parse(url) for url in urls]
    if (versions and not recursive) or (version_id is not None and (recursive or len(places) > 1)):
        raise CliError("--versions goes with -r; --version-id goes with one URL and without -r", Exit.USAGE)
    for place in places:
        if not place.key and not recursive:
            raise CliError(f"{place} is a bucket: use `moln rb`, or -r to delete everything in it", Exit.USAGE)
        sure = bool(place.key) or yes or dry_run
        if not sure and not click.confirm(f"Delete every object in {place}?", err=True):
            raise CliError("nothing was deleted")
    client = session.client()
    for place in places:
        with errors_about(place):
            if recursive:
                found = entries(client, place, recursive=True, versions=versions)
                _delete_all(client, place, found, session.output, dry_run=dry_run)
            else:
                _delete_one(client, place, version_id, session.output, dry_run=dry_run)


def _delete_one(client: Client, place: S3Url, version_id: str | None, output: Output, *, dry_run: bool) -> None:
    document: dict[str, Any] = {"key": place.key, "version_id": version_id}
    if not dry_run:
        named = {"VersionId": version_id} if version_id is not None else {}
        answer = client.delete_object(Bucket=place.bucket, Key=place.key, **named)
        document |= {"version_id": answer.get("VersionId"), "delete_marker": answer.get("DeleteMarker", False)}
    _show(output, document, dry_run=dry_run)


def _delete_all(
    client: Client, place: S3Url, found: Iterator[dict[str, Any]], output: Output, *, dry_run: bool
) -> None:
    """Delete batch by batch; CliError at the end if the server kept some."""
    kept = 0
    while batch := list(islice(found, _BATCH)):
        refused: set[tuple[str, str | None]] = set()
        if not dry_run:
            names = [{"Key": e["key"]} | ({"VersionId": e["version_id"]} if "version_id" in e else {}) for e in batch]
            answer = client.delete_objects(Bucket=place.bucket, Delete={"Objects": names, "Quiet": True})
            for error in answer.get("Errors", []):
                refused.add((error["Key"], error.get("VersionId")))
                click.echo(f"moln: {printable(error['Key'])}: {error['Code']}: {error['Message']}", err=True)
        kept += len(refused)
        for entry in batch:
            if (entry["key"], entry.get("version_id")) not in refused:
                _show(output, {"key": entry["key"], "version_id": entry.get("version_id")}, dry_run=dry_run)
    if kept:
        raise CliError(f"{place}: {kept} objects could not be deleted")


def _show(output: Output, document: dict[str, Any], *, dry_run: bool) -> None:
    verb = "would delete" if dry_run else "deleted"
    output.show(document | {"deleted": not dry_run}, f"{verb} {printable(document['key'])}")
