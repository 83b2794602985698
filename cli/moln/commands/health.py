"""`moln health`: one word and an exit code, for scripts and probes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import click

from moln.errors import Exit
from moln.output import Output
from moln.watching.assess import Level, assess
from moln.watching.choose import full_option, with_source

if TYPE_CHECKING:
    from moln.watching.snapshot import Source

_CODES: Final = {Level.HEALTHY: 0, Level.DEGRADED: 1, Level.AT_RISK: 2}


@click.command()
@partial(with_source, unsure=Exit.UNREACHABLE)
@full_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def health(source: Source, full: int, as_json: bool) -> int:  # noqa: FBT001 (click passes flags so)
    """Say whether CLOUD is healthy (exit code 0), degraded (1), or its data at risk (2), and why.

    Where nothing can be said the exit code is 6.

    Without a name it is the cloud of `moln dev` if one runs here, else the only Cloud in kubectl's namespace.
    """
    seen = source.look()
    verdict = assess(seen, full)
    document = {"cloud": seen.cloud, "level": verdict.level.word, "reasons": list(verdict.reasons)}
    text = "\n".join([f"{seen.cloud}: {verdict.level.word}", *(f"  {reason}" for reason in verdict.reasons)])
    Output(as_json).show(document, text)
    return _CODES[verdict.level]
