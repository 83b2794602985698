"""The figures behind a node's gauges, gathered anew for each scrape: cheap whatever the node holds.

`/v1/status` counts registers one by one; that is for those who ask now and then, and is not done here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.cluster.passes import Progress
    from moln_node.cluster.scrubbing import State as Scrubs
    from moln_node.peer.node import Node
    from moln_node.peer.tasks import Task, TaskBoard
    from moln_node.store.activity import Activity
    from moln_node.store.ledger import Space
    from moln_node.store.model import Usage
    from moln_spec.nodestatus import Check

LARGEST: Final = 50
"""Buckets that have a name in the metrics; the others are one sum."""

OTHERS: Final = "(others)"
"""What that sum is called: no bucket can be."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Since the node's start: each number only grows. `unanswered` is by the peer that was called."""

    repaired_bytes: int
    damage_found: int
    damage_healed: int
    sweep_differing: int
    graves_collected: int = 0
    unnamed_dropped: int = 0
    unnamed_bytes: int = 0
    unanswered: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ends:
    """What the node uses that ends some day.

    Attributes:
        certificate: end of the S3 port's certificate, in seconds since 1970; None without TLS.
        peer_certificate: the same of port 9001.
        keys: access keys that were replaced: by id, their end in seconds since 1970, and how often they were used.
    """

    certificate: float | None = None
    peer_certificate: float | None = None
    keys: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """A node at one moment. Bytes and objects are what this node holds: each copy counts where it is.

    Attributes:
        checks: those of `/ready`.
        epoch: of the map that it obeys.
        counts: it votes as an owner.
        space: its volume.
        reserve_bytes: what writes must leave free of it.
        in_flight_bytes: reserved by writes under way.
        classes: what each storage class holds.
        buckets: what the largest buckets hold, and all others together.
        hints: registers of which an owner lacks something, with what is owed and late.
        owed: writes that this node acknowledged alone, and the owners have yet to decide.
        dead_letters: such writes that are not tried any more; not among `owed`.
        moving: the pass over what changes owners; None where none runs.
        strays: registers held here and owned by others; None while unknown.
        totals: what repair has done, and what came to nothing, since the start.
        swept: when every register was last compared with the other owners', in seconds since 1970; None before.
        scrubs: what is known of its scrubs.
        tasks: the last task of each kind.
        ends: what it uses that ends.
        activity: what its store does.
    """

    checks: tuple[Check, ...]
    epoch: int
    counts: bool
    space: Space
    reserve_bytes: float
    in_flight_bytes: int
    classes: Mapping[str, Usage]
    buckets: Mapping[str, Usage]
    hints: int
    owed: int
    dead_letters: int
    moving: Progress | None
    strays: int | None
    totals: Totals
    swept: float | None
    scrubs: Scrubs
    tasks: Mapping[str, Task]
    ends: Ends
    activity: Activity


async def gather(node: Node, board: TaskBoard, ends: Ends) -> Figures:
    """The figures as they are now."""
    store, cluster = node.local.store, node.cluster
    space = store.ledger.space()
    tasks: dict[str, Task] = {}
    for task in board.tasks():
        tasks.setdefault(task.request.kind, task)
    owed = await cluster.members.owed.count()
    names = {row.id: name for name, row in store.buckets.items()}
    return Figures(
        checks=node.checks(),
        epoch=cluster.members.own.gate.obeyed,
        counts=cluster.counts,
        space=space,
        reserve_bytes=space.total * node.map.limits.reserve_percent / 100,
        in_flight_bytes=store.ledger.in_flight(),
        classes=node.local.usage_by_class(),
        buckets=largest({names[number]: u for number, u in store.ledger.usage_by_bucket().items() if number in names}),
        hints=await cluster.members.hints.count() + owed.late,
        owed=owed.owed,
        dead_letters=owed.dead,
        moving=cluster.passes.progress,
        strays=await cluster.strays(),
        totals=Totals(
            repaired_bytes=cluster.repair.bytes,
            damage_found=cluster.repair.found,
            damage_healed=cluster.repair.healed,
            sweep_differing=cluster.sweep.differed,
            graves_collected=cluster.graves.collected,
            unnamed_dropped=cluster.unnamed.dropped,
            unnamed_bytes=cluster.unnamed.bytes,
            unanswered=cluster.members.session.unanswered,
        ),
        swept=cluster.sweep.ended,
        scrubs=cluster.scrubbing.state,
        tasks=tasks,
        ends=ends,
        activity=store.activity(),
    )


def largest(usage: Mapping[str, Usage], most: int = LARGEST) -> dict[str, Usage]:
    """The `most` largest buckets by bytes, and the sum of the others where there are any."""
    ranked = sorted(usage.items(), key=lambda entry: (-entry[1].bytes, -entry[1].objects, entry[0]))
    named, others = dict(ranked[:most]), ranked[most:]
    if others:
        kind = type(others[0][1])
        named[OTHERS] = kind(sum(u.objects for _, u in others), sum(u.bytes for _, u in others))
    return named
