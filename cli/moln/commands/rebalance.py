"""`moln rebalance --dry-run`: what the change of nodes under way, or one that you think of, moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from moln.errors import CliError, Exit
from moln.output import Output, printable, size_text
from moln.watching.ask import ask
from moln.watching.choose import with_source
from moln.watching.moving import Totals, moves
from moln.watching.wish import wished
from moln_spec.cloudmap import CloudMap
from moln_spec.membership import Report
from moln_spec.nodestatus import NodeStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln.watching.moving import Move
    from moln.watching.snapshot import Doors, Source

_BY_ITSELF = (
    "a cloud moves keys by itself as soon as its nodes change: edit replicas, pools, weights or copies in its YAML, "
    "and watch `moln status`; --dry-run tells before it what would move"
)


@click.command()
@with_source
@click.option("--dry-run", is_flag=True, help="Tell what would move; there is nothing else that this command does.")
@click.option("--replicas", type=click.IntRange(1), metavar="N", help="With N nodes in the cloud's only pool.")
@click.option("--pool", "pools", multiple=True, metavar="NAME=N", help="With N nodes in this pool; repeatable.")
@click.option("--without", multiple=True, metavar="NODE", help="Without this node; repeatable.")
@click.option("--copies", multiple=True, metavar="POLICY=N", help="With N copies by this policy; repeatable.")
@click.option("--keys", is_flag=True, help="Tell of each key too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a line for each key with --keys, and one of sums.")
def rebalance(
    source: Source,
    *,
    dry_run: bool,
    replicas: int | None,
    pools: tuple[str, ...],
    without: tuple[str, ...],
    copies: tuple[str, ...],
    keys: bool,
    as_json: bool,
) -> None:
    """Tell which keys, and how many bytes, move from which node to which.

    Of the change of nodes that is under way, what is still to do; or, with --replicas, --pool, --without or --copies,
    of a change that you think of. Nothing is done.
    """
    if not dry_run:
        raise CliError(_BY_ITSELF, Exit.USAGE)
    doors = source.doors()
    cloud_map, reports = _look(doors)
    numbers = _numbers(pools) | ({} if replicas is None else {_only_pool(cloud_map): replicas})
    thought_of = None
    if numbers or without or copies:
        step = wished(cloud_map, numbers, without, _numbers(copies), reports)
        if step.refusal is not None:
            raise CliError(f"the cloud would refuse this: {step.refusal.message}", Exit.CONFLICT)
        thought_of = step.map
    output, totals = Output(as_json), Totals()
    if (thought_of or cloud_map).change is not None:
        for move in moves(doors, thought_of, totals):
            if keys:
                output.show(_document(move), _line(move))
    volumes = {name: report.volume for name, report in reports.items()}
    lacks = totals.lacks(volumes, cloud_map.limits.reserve_percent)
    document = {"epoch": cloud_map.epoch, **totals.document(), "lacks": lacks}
    output.show(document, "\n".join(_sums(totals, lacks, set(volumes))))
    if lacks:
        words = ", ".join(f"{name} lacks {size_text(size)}" for name, size in sorted(lacks.items()))
        raise CliError(f"there is no room for it: {words}", Exit.FULL)
    if totals.unanswered:
        raise CliError(f"of {totals.unanswered} keys a node that has them does not answer", Exit.UNREACHABLE)


def _look(doors: Doors) -> tuple[CloudMap, Mapping[str, Report]]:
    """The map, and what every node of it says: of all, or nothing exact can be told."""
    reports = {}
    with doors.http as http:
        cloud_map = ask(http, next(iter(doors.addresses.values())), doors.secret, "/v1/map", CloudMap)
        for name, address in doors.addresses.items():
            reports[name] = Report.of(ask(http, address, doors.secret, "/v1/status", NodeStatus))
    return cloud_map, reports


def _numbers(arguments: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for argument in arguments:
        name, _, number = argument.partition("=")
        if not name or not number.isdecimal():
            raise CliError(f"{argument!r} is no NAME=NUMBER", Exit.USAGE)
        found[name] = int(number)
    return found


def _only_pool(cloud_map: CloudMap) -> str:
    pools = sorted({node.pool for node in cloud_map.nodes})
    if len(pools) > 1:
        raise CliError(f"the cloud has the pools {', '.join(pools)}: say which with --pool NAME=N", Exit.USAGE)
    return pools[0]


def _document(move: Move) -> dict[str, object]:
    return {
        "kind": move.kind,
        "bucket": move.bucket,
        "key": move.key,
        "moves": [{"from": s.source, "to": s.target, "rows": s.rows, "bytes": s.bytes} for s in move.shares],
        "leaves": list(move.leaves),
    }


def _line(move: Move) -> str:
    name = printable(f"{move.bucket}/{move.key}" if move.bucket else move.key)
    words = [f"{s.source} -> {s.target} {s.rows} versions, {s.bytes} bytes" for s in move.shares]
    words += [f"leaves {name}" for name in move.leaves]
    return f"{'' if move.kind == 'object' else move.kind + ' '}{name}: {'; '.join(words)}"


def _sums(totals: Totals, lacks: Mapping[str, int], known: set[str]) -> list[str]:
    lines = [
        f"{source} -> {target}: {one.keys} keys, {size_text(one.bytes)}"
        for (source, target), one in sorted(totals.between.items())
    ]
    for name, one in sorted(totals.gets.items()):
        room = (
            "has no room for it" if name in lacks else "has room for it" if name in known else "is new: needs it free"
        )
        lines.append(f"{name} gets {one.keys} keys, {size_text(one.bytes)}, and {room}")
    lines += [f"{one.keys} keys, {size_text(one.bytes)} leave {name}" for name, one in sorted(totals.leaves.items())]
    moved = f"{totals.keys.keys} keys, {size_text(totals.keys.bytes)} to move"
    return [*lines, moved if totals.keys.keys or totals.leaves else "nothing moves"]
