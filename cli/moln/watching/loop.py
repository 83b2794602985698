"""Looking again and again: redrawn in place on a terminal, otherwise one look after the other, or JSON lines."""

from __future__ import annotations

import itertools
import json
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live

from moln.errors import CliError, Exit
from moln.watching import screen
from moln.watching.assess import assess
from moln.watching.rates import between

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from moln.watching.assess import Verdict
    from moln.watching.page import Counters
    from moln.watching.rates import Rates
    from moln.watching.snapshot import Snapshot, Source

_WIDTH: Final = 140  # of a pipe
Look = tuple["Snapshot", "Verdict", "Mapping[str, Rates | None] | None"]


def looks(source: Source, interval: float, count: int | None, full: int, *, rates: bool) -> Iterator[Look]:
    """`count` looks, or without end. With `rates` each has the traffic since the one before, and that one is not shown.

    `full` is the percentage from which a volume is too full. A cloud that can't be reached for a while is waited for,
    once it has been seen.
    """
    before: dict[str, Counters] = {}
    shown = 0
    for number in itertools.count():
        if number:
            time.sleep(interval)
        try:
            seen = source.look()
        except CliError as error:
            if number == 0 or error.code != Exit.UNREACHABLE:
                raise
            continue
        now = {page.name: page.counters for page in seen.pages if not page.error}
        first, known = not before, before
        before = before | now
        if rates and first:
            continue
        since = {name: between(known[name], counters) for name, counters in now.items() if name in known}
        yield seen, assess(seen, full), since if rates else None
        shown += 1
        if shown == count:
            return


def show(found: Iterator[Look], *, as_json: bool, in_place: bool) -> None:
    """Show each look as it comes, until there are no more or Ctrl-C."""
    if as_json:
        for look in found:
            print(json.dumps(screen.document(*look), ensure_ascii=False), flush=True)
        return
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    if not in_place or not console.is_terminal:
        for look in found:
            console.print(screen.drawn(*look))
        return
    with suppress(KeyboardInterrupt), Live(console=console, screen=False, auto_refresh=False) as live:
        for look in found:
            live.update(_with_hint(screen.drawn(*look)), refresh=True)


def _with_hint(drawn: RenderableType) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 (only a terminal gets it)

    return Group(drawn, "", "Ctrl-C ends this")
