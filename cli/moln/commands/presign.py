"""`moln presign`: a URL that lets whoever has it read or write one object for a while. Asks no server."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from moln.client import errors_about
from moln.errors import CliError, Exit
from moln.options import Session, with_session
from moln.s3url import parse_object

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST: Final = 7 * 86400


def parse_duration(text: str) -> int:
    """Seconds of `90`, `15m`, `12h`, `7d`; CliError, also beyond the week that S3 allows."""
    found = re.fullmatch(r"(\d+)([smhd]?)", text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= _LONGEST:
        raise CliError(f"{text!r} is no time from 1 second to 7 days, such as 90, 15m, 12h or 7d", Exit.USAGE)
    return seconds


@click.command()
@click.argument("url")
@click.option("--expires", default="1h", show_default=True, help="How long it is valid: 90, 15m, 12h, 7d.")
@click.option("--put", is_flag=True, help="Allow writing the object instead of reading it.")
@click.option("--version-id", help="Read this version rather than the newest.")
@with_session
def presign(session: Session, url: str, expires: str, put: bool, version_id: str | None) -> None:  # noqa: FBT001
    """Make a URL for URL (s3://BUCKET/KEY) that needs no keys."""
    place = parse_object(url)
    seconds = parse_duration(expires)
    if put and version_id is not None:
        raise CliError("--version-id names what is read; it cannot go with --put", Exit.USAGE)
    wanted = {"Bucket": place.bucket, "Key": place.key}
    if version_id is not None:
        wanted["VersionId"] = version_id
    with errors_about(place):
        signed = session.client().generate_presigned_url(
            "put_object" if put else "get_object", Params=wanted, ExpiresIn=seconds
        )
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    session.output.show({"url": signed, "method": "PUT" if put else "GET", "expires": until}, signed)
