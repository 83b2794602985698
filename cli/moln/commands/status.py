"""`moln status`: how a running cloud is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moln.watching.choose import full_option, with_source
from moln.watching.loop import looks, show

if TYPE_CHECKING:
    from moln.watching.snapshot import Source


@click.command()
@with_source
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between.")
@full_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one document for each look.")
def status(source: Source, watch: bool, interval: float, full: int, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """Show how CLOUD is: its nodes, their room, how many copies serve, and what is wrong.

    Without a name it is the cloud of `moln dev` if one runs here, else the only Cloud in kubectl's namespace.
    """
    show(looks(source, interval, None if watch else 1, full, rates=False), as_json=as_json, in_place=watch)
