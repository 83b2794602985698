"""`moln top`: a running cloud's traffic, node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moln.watching.choose import full_option, with_source
from moln.watching.loop import looks, show

if TYPE_CHECKING:
    from moln.watching.snapshot import Source


@click.command()
@with_source
@click.option("--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds of a look.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many looks.")
@full_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document for each look.")
def top(source: Source, interval: float, count: int | None, full: int, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Watch CLOUD until Ctrl-C: requests, throughput, time to answer, room and repair of each node.

    Without a name it is the cloud of `moln dev` if one runs here, else the only Cloud in kubectl's namespace.
    """
    show(looks(source, interval, count, full, rates=True), as_json=as_json, in_place=True)
