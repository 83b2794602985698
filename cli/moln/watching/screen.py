"""What `status` and `top` show: as JSON documents, and drawn for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from moln.output import size_text
from moln.watching.assess import Level
from moln_spec.quantity import about

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from moln.watching.assess import Verdict
    from moln.watching.page import Page
    from moln.watching.rates import Rates
    from moln.watching.snapshot import Snapshot

_COLOURS: Final = {Level.HEALTHY: "bold green", Level.DEGRADED: "bold yellow", Level.AT_RISK: "bold red"}
_MOST_REASONS: Final = 10


def document(seen: Snapshot, verdict: Verdict, rates: Mapping[str, Rates | None] | None = None) -> dict[str, Any]:
    """The look as JSON; rates where there are any."""
    return {
        "cloud": seen.cloud,
        "level": verdict.level.word,
        "reasons": list(verdict.reasons),
        "endpoint": seen.endpoint,
        "epoch": seen.map.epoch,
        "changing": seen.map.change is not None,
        "copies": verdict.coverage.copies,
        "fewest_serving_copies": verdict.coverage.fewest,
        "stuck_partitions": verdict.coverage.stuck,
        "conditions": [
            {"type": one.type, "status": one.status, "reason": one.reason, "message": one.message}
            for one in seen.conditions
        ],
        "nodes": [_node(page, rates) for page in seen.pages],
    }


def _node(page: Page, rates: Mapping[str, Rates | None] | None) -> dict[str, Any]:
    if page.error:
        return {"name": page.name, "error": page.error}
    found: dict[str, Any] = {
        "name": page.name,
        "ready": page.ready,
        "counts": page.counts,
        "epoch": page.epoch,
        "capacity_bytes": page.capacity,
        "used_bytes": page.used,
        "objects": page.objects,
        "object_bytes": page.bytes,
        "waiting_for_repair": page.hints,
        "moving": {"done": page.moving[0], "total": page.moving[1], "seconds_left": page.seconds_left},
        "rewriting": None
        if page.rewriting is None
        else {
            "done": page.rewriting[0],
            "total": page.rewriting[1],
            "seconds_left": page.rewriting_seconds_left,
        },
        "checks": {check.name: check.state for check in page.checks},
    }
    rate = (rates or {}).get(page.name)
    if rate is not None:
        found |= {
            "requests_per_second": round(rate.requests, 1),
            "errors_per_second": round(rate.errors, 1),
            "received_bytes_per_second": round(rate.received),
            "sent_bytes_per_second": round(rate.sent),
            "requests_under_way": page.in_flight,
            "seconds_of_99_percent": None if rate.slowest is None or math.isinf(rate.slowest) else rate.slowest,
        }
    return found


def drawn(seen: Snapshot, verdict: Verdict, rates: Mapping[str, Rates | None] | None = None) -> RenderableType:
    """The look for people; with columns of traffic where there are rates."""
    head = Text.assemble((seen.cloud, "bold"), ": ", (verdict.level.word, _COLOURS[verdict.level]), f"  ({seen.where})")
    parts: list[RenderableType] = [head, Text(f"  {_sentence(seen, verdict)}")]
    parts += [Text(f"  ! {reason}") for reason in verdict.reasons[:_MOST_REASONS]]
    if more := verdict.reasons[_MOST_REASONS:]:
        parts.append(Text(f"  ! and {len(more)} more: --json has them all"))
    return Group(*parts, Text(), _table(seen, rates))


def _sentence(seen: Snapshot, verdict: Verdict) -> str:
    serving = sum(page.serves for page in seen.pages)
    copies = verdict.coverage
    parts = [
        f"{serving} of {len(seen.pages)} nodes serve",
        f"at least {copies.fewest} of {copies.copies} copies of everything",
        f"map epoch {seen.map.epoch}",
    ]
    if seen.map.change is not None:
        parts.append(f"keys move to a new layout{_moved(seen)}")
    if any(page.rewriting for page in seen.pages):
        parts.append(f"objects are rewritten{_rewritten(seen)}")
    if seen.endpoint:
        parts.append(f"S3 at {seen.endpoint}")
    return ", ".join(parts)


def _moved(seen: Snapshot) -> str:
    """How far the nodes' passes are together, where one runs, and how long the slowest still takes."""
    left = [page.seconds_left for page in seen.pages if page.seconds_left is not None]
    return _far([page.moving for page in seen.pages], left)


def _rewritten(seen: Snapshot) -> str:
    """The same of `moln rewrite`, of the step that each node is at."""
    left = [page.rewriting_seconds_left for page in seen.pages if page.rewriting_seconds_left is not None]
    return _far([page.rewriting for page in seen.pages if page.rewriting], left)


def _far(pages: Sequence[tuple[int, int]], left: Sequence[float]) -> str:
    done, total = (sum(page[part] for page in pages) for part in (0, 1))
    until = f", {about(max(left))} left" if left else ""
    return f" ({100 * done // total} % done{until})" if total else ""


def _table(seen: Snapshot, rates: Mapping[str, Rates | None] | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("NODE", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    numbers = ["USED", "OF", "OBJECTS", "BYTES", "REPAIR"]
    if rates is not None:
        numbers += ["REQ/S", "ERR/S", "IN/S", "OUT/S", "99 %"]
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for page in seen.pages:
        cells = _cells(page)
        if rates is not None:
            cells += _traffic(rates.get(page.name))
        table.add_row(page.name, _state(page), *cells)
    return table


def _state(page: Page) -> Text:
    if page.error:
        return Text("no answer", "bold red")
    if not page.ready:
        return Text("not ready", "bold red")
    return Text("serves", "green") if page.counts else Text("refills", "yellow")


def _cells(page: Page) -> list[str]:
    if page.error:
        return ["-"] * 5
    used = f"{page.used / page.capacity:.0%}" if page.capacity else "-"
    return [used, size_text(page.capacity), str(page.objects), size_text(page.bytes), str(page.hints)]


def _traffic(rate: Rates | None) -> list[str]:
    if rate is None:
        return ["-"] * 5
    slowest = "-" if rate.slowest is None else "> 60 s" if math.isinf(rate.slowest) else f"{rate.slowest * 1000:g} ms"
    return [
        f"{rate.requests:.1f}",
        f"{rate.errors:.1f}",
        size_text(round(rate.received)),
        size_text(round(rate.sent)),
        slowest,
    ]
