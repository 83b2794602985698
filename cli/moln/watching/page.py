"""One node as its open pages show it: `/ready`, check by check, and `/metrics`."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import urllib3
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from moln_spec.nodestatus import Health

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client.samples import Sample

    from moln_spec.nodestatus import Check

_TIMEOUT: Final = urllib3.Timeout(connect=2.0, read=5.0)
_MOVING: Final = "moln_node_moving_registers"
_MOVING_LEFT: Final = "moln_node_moving_seconds_left"
_TASK: Final = "moln_node_task_progress"
_UNHEALED: Final = "moln_node_scrub_unhealed"
_RUNNING: Final = "moln_node_task_running"
_REWRITING: Final = ("reassign", "rewrite")
"""The kinds of maintenance that `moln rewrite` is."""
_LATENCY: Final = "moln_s3_request_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Counters:
    """What only grows, for rates between two looks. `latency` counts requests by upper bound in seconds."""

    at: float
    requests: float = 0
    errors: float = 0
    received: float = 0
    sent: float = 0
    latency: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A node at one moment; where it did not answer, `error` says why and the rest is empty.

    Attributes:
        name: the node's name in the map.
        error: why there is no answer; empty when there is one.
        ready: it says that requests should come to it.
        counts: it votes as an owner.
        checks: those of `/ready`.
        epoch: of the map that it obeys.
        capacity: bytes of its volume.
        used: of them used.
        objects: versions that it keeps.
        bytes: of them, as clients wrote them.
        hints: registers of which it knows that an owner lacks something.
        dead_letters: writes that it acknowledged alone, and that are not tried any more.
        moving: registers whose owners change: done, and total by estimate; both 0 where nothing moves.
        seconds_left: how long that goes on, where the node can tell.
        in_flight: S3 requests under way.
        bad: damaged copies that its last full scrub, or one since, found and could not heal.
        counters: what rates are made of.
    """

    name: str
    error: str = ""
    ready: bool = False
    counts: bool = False
    checks: tuple[Check, ...] = ()
    epoch: int = 0
    capacity: int = 0
    used: int = 0
    objects: int = 0
    bytes: int = 0
    hints: int = 0
    dead_letters: int = 0
    moving: tuple[int, int] = (0, 0)
    seconds_left: float | None = None
    in_flight: int = 0
    bad: int = 0
    rewriting: tuple[int, int] | None = None
    rewriting_seconds_left: float | None = None
    counters: Counters = Counters(0.0)

    @property
    def serves(self) -> bool:
        """Whether its copies can be counted on now."""
        return not self.error and self.ready and self.counts


def read(http: urllib3.PoolManager, name: str, address: str) -> Page:
    """Ask a node at `http://HOST:PORT`, or https."""
    try:
        health = http.request("GET", f"{address}/ready", timeout=_TIMEOUT, retries=False)
        metrics = http.request("GET", f"{address}/metrics", timeout=_TIMEOUT, retries=False)
        if metrics.status != 200:
            return Page(name, error=f"{address} answers {metrics.status} to /metrics")
        return parse(name, health.data, metrics.data.decode(), time.monotonic())
    except urllib3.exceptions.HTTPError as error:
        return Page(name, error=_words(error))
    except (ValidationError, ValueError) as error:
        return Page(name, error=f"{address} says what this release does not know: {type(error).__name__}")


def _words(error: urllib3.exceptions.HTTPError) -> str:
    """An error of the connection without the library's own words for it."""
    if isinstance(error, urllib3.exceptions.SSLError):
        return str(error)
    return "no answer in time" if isinstance(error, urllib3.exceptions.TimeoutError) else "it can't be reached"


def parse(name: str, health: bytes, metrics: str, now: float) -> Page:
    """A node's pages as they were at `now`; ValueError where they are no pages of a node."""
    found: defaultdict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            found[sample.name].append(sample)

    def total(metric: str, **labels: str) -> float:
        return sum(s.value for s in found[metric] if labels.items() <= s.labels.items())

    said = Health.model_validate_json(health)
    requests = found["moln_s3_requests_total"]
    latency: defaultdict[float, float] = defaultdict(float)
    for sample in found[_LATENCY]:
        latency[float(sample.labels["le"])] += sample.value
    heals = any(s.labels.get("counter") == "unhealed" for s in found[_TASK])  # a release before only finds
    rewriting = next((kind for kind in _REWRITING if total(_RUNNING, kind=kind)), "")
    return Page(
        name,
        ready=said.ok,
        counts=total("moln_node_counts") > 0,
        checks=said.checks,
        epoch=int(total("moln_node_map_epoch")),
        capacity=int(total("moln_node_volume_capacity_bytes")),
        used=int(total("moln_node_volume_used_bytes")),
        objects=int(total("moln_node_objects")),
        bytes=int(total("moln_node_object_bytes")),
        hints=int(total("moln_node_hints")),
        dead_letters=int(total("moln_node_dead_letters")),
        moving=(int(total(_MOVING, state="done")), int(total(_MOVING, state="total"))),
        seconds_left=next((sample.value for sample in found[_MOVING_LEFT]), None),
        in_flight=int(total("moln_s3_requests_in_flight")),
        bad=int(
            total(_UNHEALED) if found[_UNHEALED] else total(_TASK, kind="scrub", counter="unhealed" if heals else "bad")
        ),
        rewriting=(
            (int(total(_TASK, kind=rewriting, counter="versions")), int(total(_TASK, kind=rewriting, counter="total")))
            if rewriting
            else None
        ),
        rewriting_seconds_left=next(
            (s.value for s in found[_TASK] if s.labels["kind"] == rewriting and s.labels["counter"] == "seconds_left"),
            None,
        ),
        counters=Counters(
            at=now,
            requests=sum(s.value for s in requests),
            errors=sum(s.value for s in requests if s.labels["code"].startswith("5")),
            received=total("moln_s3_received_bytes_total"),
            sent=total("moln_s3_sent_bytes_total"),
            latency=dict(latency),
        ),
    )
