"""`moln put`: one file, or standard input, to one object."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moln.client import errors_about
from moln.commands.uploading import attributes, parse_part_size, upload_options
from moln.errors import CliError, Exit
from moln.options import Session, with_session
from moln.output import size_text
from moln.s3url import S3Url, parse
from moln.transfer.contenttype import by_name
from moln.transfer.progress import Silent, shown
from moln.transfer.upload import Uploaded, UploadOptions, upload_file, upload_stream

if TYPE_CHECKING:
    from moln.client import Client


@click.command()
@click.argument("file")
@click.argument("url")
@upload_options
@click.option("--if-absent", is_flag=True, help="Only if there is no object of this name.")
@click.option("--if-match", metavar="ETAG", help="Only if the object there has this ETag.")
@with_session
def put(
    session: Session,
    file: str,
    url: str,
    part_size: str,
    jobs: int,
    quiet: bool,  # noqa: FBT001 (click passes flags so)
    if_absent: bool,  # noqa: FBT001
    if_match: str | None,
    **said: Any,
) -> None:
    """Write FILE (- is standard input) to URL (s3://BUCKET/KEY; with / at its end, the file's name is added)."""
    place = parse(url)
    if if_absent and if_match is not None:
        raise CliError("--if-absent and --if-match exclude each other", Exit.USAGE)
    if not place.key or place.key.endswith("/"):
        if file == "-":
            raise CliError(f"standard input has no name: give {place} a key", Exit.USAGE)
        place = place.child(Path(file).name)
    if said["content_type"] is None and file != "-":
        said["content_type"] = by_name(file)
    conditions = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match} if if_match is not None else {}
    options = UploadOptions(attributes(**said), conditions, parse_part_size(part_size), jobs)
    client = session.client(connections=jobs)
    visible = not quiet and not session.output.as_json and sys.stderr.isatty()
    with shown(f"put {place}", visible=visible) as progress:
        written = _write(client, file, place, options, progress)
    document = {
        "bucket": place.bucket,
        "key": place.key,
        "size": written.size,
        "etag": written.etag,
        "version_id": written.version_id,
        "resumed_bytes": written.resumed_bytes,
    }
    session.output.show(document, "" if quiet else f"{place}  {size_text(written.size)}")


def _write(client: Client, file: str, place: S3Url, options: UploadOptions, progress: Silent) -> Uploaded:
    with errors_about(place), ThreadPoolExecutor(options.jobs) as pool:
        try:
            if file == "-":
                return upload_stream(client, pool, sys.stdin.buffer, place, options, progress)
            return upload_file(client, pool, Path(file), place, options, progress)
        except OSError as error:
            code = Exit.NOT_FOUND if isinstance(error, FileNotFoundError) else Exit.FAILURE
            raise CliError(f"{file}: {error.strerror}", code) from error
        except BaseException:
            progress.stop()
            raise
