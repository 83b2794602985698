"""`moln explain`: which storage class an object would get, and why, rule by rule.

Asks a node (port 9001, with the cloud secret), which answers by the map it obeys; or with --cloud reads the YAML, so
that rules can be tried before they are applied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import urllib3

from moln import profiles
from moln.commands.uploading import pairs
from moln.connection import DEFAULT_PROFILE
from moln.errors import CliError, Exit
from moln.output import Output, printable
from moln.s3url import parse_object
from moln.transfer.contenttype import by_name
from moln.watching.ask import ask, read_secret
from moln_spec.classes import Assignment, Candidate, UnknownStorageClassError, assign

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("url")
@click.option("--size", type=click.IntRange(min=0), help="Size in bytes; unknown when absent, as for multipart.")
@click.option("--content-type", help="Content type; by default the one that the key's ending stands for.")
@click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="User metadata; repeatable.")
@click.option("--storage-class", help="The class that the request would ask for.")
@click.option("--cloud", type=_FILE, help="Ask this YAML instead of a running cloud.")
@click.option("--peer", metavar="HOST:PORT", help="A node's port 9001; by default the profile's.")
@click.option("--cloud-secret", type=_FILE, help="File with the cloud secret; by default the profile's.")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="Profile that names node and secret.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    url: str,
    size: int | None,
    content_type: str | None,
    metadata: tuple[str, ...],
    storage_class: str | None,
    cloud: Path | None,
    peer: str | None,
    cloud_secret: Path | None,
    profile: str,
    as_json: bool,  # noqa: FBT001 (click passes flags so)
) -> None:
    """Tell which storage class URL (s3://BUCKET/KEY) would get, and why."""
    place = parse_object(url)
    candidate = Candidate(
        bucket=place.bucket,
        key=place.key,
        content_type=content_type or by_name(place.key) or "",
        size=size,
        metadata=pairs(metadata, "--metadata"),
        requested_class=storage_class,
    )
    found = _by_file(cloud, candidate) if cloud is not None else _by_node(peer, cloud_secret, profile, candidate)
    Output(as_json).show(found.model_dump(by_alias=True), _text(printable(str(place)), found))


def _by_file(path: Path, candidate: Candidate) -> Assignment:
    from moln.dev import cloudfile  # noqa: PLC0415 (only this way of asking needs YAML)

    spec = cloudfile.parse(cloudfile.read(path), str(path)).cloud.spec
    try:
        return assign(spec.storage_classes, spec.assignment_rules, candidate)
    except UnknownStorageClassError as error:
        raise CliError(str(error), Exit.NOT_FOUND) from error


def _by_node(peer: str | None, secret_file: Path | None, profile: str, candidate: Candidate) -> Assignment:
    known = profiles.load(profile)
    address = peer or (known.peer if known is not None else None)
    file = secret_file or (known.cloud_secret_file if known is not None else None)
    if address is None or file is None:
        raise CliError(
            "there is no node to ask: run `moln dev`, give --peer and --cloud-secret, or read rules with --cloud YAML",
            Exit.USAGE,
        )
    return ask(urllib3.PoolManager(), f"http://{address}", read_secret(file), "/v1/explain", Assignment, post=candidate)


def _text(name: str, found: Assignment) -> str:
    pool = f" in pool {found.pool}" if found.pool else ""
    lines = [f"{name} -> {found.storage_class}{pool}: {found.reason}"]
    lines += [f"  {'+' if verdict.matches else '-'} {verdict.rule}: {verdict.reason}" for verdict in found.verdicts]
    return "\n".join(lines)
