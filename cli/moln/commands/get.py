"""`moln get`: one object to one file, or to standard output."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from moln.client import Client, errors_about
from moln.commands.uploading import parse_part_size
from moln.errors import CliError, Exit
from moln.options import Session, with_session
from moln.output import size_text
from moln.s3url import S3Url, parse_object
from moln.transfer.download import download_file
from moln.transfer.progress import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLOCK: Final = 1024 * 1024


@click.command()
@click.argument("url")
@click.argument("file", required=False)
@click.option("--version-id", help="This version rather than the newest.")
@click.option("--range", "span", metavar="FIRST-LAST", help="Only these bytes, to standard output: 0-99, 100-, -50.")
@click.option("--part-size", default="8M", show_default=True, help="Size of parts of large objects.")
@click.option("-j", "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Parallel requests.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no lines.")
@with_session
def get(
    session: Session,
    url: str,
    file: str | None,
    version_id: str | None,
    span: str | None,
    part_size: str,
    jobs: int,
    quiet: bool,  # noqa: FBT001 (click passes flags so)
) -> None:
    """Read URL (s3://BUCKET/KEY) to FILE; by default its own name in this folder, - is standard output."""
    place = parse_object(url)
    if span is not None and (file not in (None, "-") or not re.fullmatch(r"\d+-\d*|-\d+", span)):
        raise CliError("--range is FIRST-LAST, FIRST- or -COUNT, and goes to standard output", Exit.USAGE)
    client = session.client(connections=jobs)
    if file == "-" or span is not None:
        named = {"VersionId": version_id} if version_id is not None else {}
        with errors_about(place):
            _stream(client, place, named | ({"Range": f"bytes={span}"} if span is not None else {}))
        return
    target = _target(place, file)
    visible = not quiet and not session.output.as_json and sys.stderr.isatty()
    with shown(f"get {place}", visible=visible) as progress, errors_about(place), ThreadPoolExecutor(jobs) as pool:
        try:
            read = download_file(
                client, pool, place, target, progress, version_id=version_id, each=parse_part_size(part_size)
            )
        except OSError as error:
            raise CliError(f"{target}: {error.strerror}") from error
        except BaseException:
            progress.stop()
            raise
    document = {
        "bucket": place.bucket,
        "key": place.key,
        "file": str(target),
        "size": read.size,
        "etag": read.etag,
        "version_id": read.version_id,
        "verified": read.verified,
        "resumed_bytes": read.resumed_bytes,
    }
    session.output.show(document, "" if quiet else f"{target}  {size_text(read.size)}")


def _target(place: S3Url, file: str | None) -> Path:
    name = place.key.rstrip("/").rpartition("/")[2]
    target = Path(file) if file is not None else Path()
    if target.is_dir():
        if name in ("", ".", "..") or "\0" in name:
            raise CliError(f"{place} has no name that a file can have: give one", Exit.USAGE)
        target = target / name
    return target


def _stream(client: Client, place: S3Url, wanted: Mapping[str, Any]) -> None:
    """Copy the body to standard output; the client checks it against the object's checksum as it passes."""
    body = client.get_object(Bucket=place.bucket, Key=place.key, **wanted)["Body"]
    while block := body.read(_BLOCK):
        sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()
