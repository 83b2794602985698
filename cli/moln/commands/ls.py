"""`moln ls`: buckets, or what a bucket holds, page by page: memory does not grow with the listing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from moln.client import Client, errors_about
from moln.errors import CliError, Exit
from moln.options import Session, with_session
from moln.output import Output, printable, size_text, time_text
from moln.s3url import S3Url, parse

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.argument("url", required=False)
@click.option("-r", "--recursive", is_flag=True, help="Every key below, not only this level.")
@click.option("--versions", is_flag=True, help="Every version and delete marker.")
@click.option("-h", "--human", is_flag=True, help="Sizes as 1.5 MiB.")
@with_session
def ls(session: Session, url: str | None, recursive: bool, versions: bool, human: bool) -> None:  # noqa: FBT001
    """List buckets, or the objects below URL (s3://BUCKET[/PREFIX])."""
    client = session.client()
    if url is None:
        with errors_about("buckets"):
            for bucket in client.list_buckets().get("Buckets", []):
                document = {"bucket": bucket["Name"], "created": bucket["CreationDate"]}
                session.output.show(document, f"{time_text(bucket['CreationDate'])}  s3://{bucket['Name']}")
        return
    place = parse(url)
    shown = 0
    with errors_about(place):
        for entry in entries(client, place, recursive=recursive, versions=versions):
            _show(session.output, entry, human=human)
            shown += 1
    if not shown and place.key:
        raise CliError(f"{place}: nothing begins with this", Exit.NOT_FOUND)


def entries(client: Client, place: S3Url, *, recursive: bool, versions: bool) -> Iterator[dict[str, Any]]:
    """What is listed, as the documents of --json: `prefix` for a group of keys, otherwise `key`."""
    wanted: dict[str, Any] = {"Bucket": place.bucket, "Prefix": place.key}
    if not recursive:
        wanted["Delimiter"] = "/"
    operation = "list_object_versions" if versions else "list_objects_v2"
    for page in client.get_paginator(operation).paginate(**wanted):
        for group in page.get("CommonPrefixes", []):
            yield {"prefix": group["Prefix"]}
        for item in page.get("Contents", []):
            yield _object(item)
        found = [(item, False) for item in page.get("Versions", [])]
        found += [(item, True) for item in page.get("DeleteMarkers", [])]
        for item, marker in sorted(found, key=_newest_first_within_key):
            yield _object(item) | {
                "version_id": item["VersionId"],
                "latest": item["IsLatest"],
                "delete_marker": marker,
            }


def _newest_first_within_key(found: tuple[dict[str, Any], bool]) -> tuple[str, bool, float]:
    item = found[0]
    return item["Key"], not item["IsLatest"], -item["LastModified"].timestamp()


def _object(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": item["Key"],
        "size": item.get("Size", 0),
        "modified": item["LastModified"],
        "etag": item.get("ETag", "").strip('"'),
        "storage_class": item.get("StorageClass", ""),
    }


def _show(output: Output, entry: dict[str, Any], *, human: bool) -> None:
    if "prefix" in entry:
        output.show(entry, f"{'':19}  {'':>12}  {printable(entry['prefix'])}")
        return
    size = size_text(entry["size"]) if human else str(entry["size"])
    note = ""
    if "version_id" in entry:
        words = [entry["version_id"], *(["latest"] * entry["latest"]), *(["deleted"] * entry["delete_marker"])]
        note = f"  ({', '.join(words)})"
    output.show(entry, f"{time_text(entry['modified'])}  {size:>12}  {printable(entry['key'])}{note}")
