"""`moln where`: the owners of a key, and what each of them has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click
from pydantic import BaseModel, ConfigDict

from moln.output import Output, printable
from moln.s3url import parse_object
from moln.watching.ask import ask
from moln.watching.choose import source_options

if TYPE_CHECKING:
    from moln.watching.snapshot import Source


class Copy(BaseModel):
    """What one owner has of a key, and in which list of owners it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node: str
    zone: str
    owner: Literal["now", "before", "both"]
    answers: bool
    versions: tuple[str, ...]


class Apart(BaseModel):
    """Where the bytes of the newest version are, if they are apart from its record."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    place: str
    copies: tuple[Copy, ...]


class Whereabouts(BaseModel):
    """The owners of a key, best first, as a node answers `GET /v1/where`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bucket: str
    key: str
    epoch: int
    partition: int
    copies: tuple[Copy, ...]
    bytes: Apart | None = None


@click.command()
@click.argument("url")
@source_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def where(source: Source, url: str, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Tell which nodes own URL (s3://BUCKET/KEY), and which versions each of them has."""
    place = parse_object(url)
    doors = source.doors()
    address = next(iter(doors.addresses.values()))
    query = {"bucket": place.bucket, "key": place.key}
    with doors.http as http:
        found = ask(http, address, doors.secret, "/v1/where", Whereabouts, query)
    Output(as_json).show(found.model_dump(by_alias=True), _text(printable(str(place)), found))


def _text(name: str, found: Whereabouts) -> str:
    lines = [f"{name}: partition {found.partition}, by epoch {found.epoch} of the map"]
    lines += [_line(copy, ", ".join(copy.versions) or "nothing") for copy in found.copies]
    if found.bytes is not None:
        lines.append(f"its bytes, apart, in the place {found.bytes.place}")
        lines += [_line(copy, "them" if copy.versions else "nothing") for copy in found.bytes.copies]
    return "\n".join(lines)


def _line(copy: Copy, has: str) -> str:
    zone = f" in zone {copy.zone}" if copy.zone else ""
    role = {"now": "owner", "both": "owner", "before": "owner until the change of nodes is over"}[copy.owner]
    return f"  {copy.node}{zone}: {role}, " + (f"has {has}" if copy.answers else "does not answer")
