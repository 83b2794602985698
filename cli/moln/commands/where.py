"""`moln where`: the owners of a key, and what each of them has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moln.output import Output, printable
from moln.s3url import parse_object
from moln.watching.choose import choose

if TYPE_CHECKING:
    from moln.watching.snapshot import Whereabouts


@click.command()
@click.argument("url")
@click.option("--cloud", metavar="NAME", help="The Cloud on Kubernetes; by default the only one of the namespace.")
@click.option("-n", "--namespace", help="Namespace of the Cloud; by default kubectl's.")
@click.option("--context", metavar="NAME", help="Context of kubectl's configuration.")
@click.option("--profile", metavar="NAME", help="Ask the cloud of this profile, as `moln dev` writes it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def where(
    url: str,
    cloud: str | None,
    namespace: str | None,
    context: str | None,
    profile: str | None,
    as_json: bool,  # noqa: FBT001 (click passes flags so)
) -> None:
    """Tell which nodes own URL (s3://BUCKET/KEY), and which versions each of them has."""
    place = parse_object(url)
    source = choose(cloud, namespace, context, profile)
    try:
        found = source.where(place.bucket, place.key)
    finally:
        source.close()
    Output(as_json).show(found.model_dump(by_alias=True), _text(printable(str(place)), found))


def _text(name: str, found: Whereabouts) -> str:
    lines = [f"{name}: partition {found.partition}, by epoch {found.epoch} of the map"]
    for copy in found.copies:
        zone = f" in zone {copy.zone}" if copy.zone else ""
        role = {"now": "owner", "both": "owner", "before": "owner until the change of nodes is over"}[copy.owner]
        has = ", ".join(copy.versions) or "nothing"
        lines.append(f"  {copy.node}{zone}: {role}, " + (f"has {has}" if copy.answers else "does not answer"))
    return "\n".join(lines)
