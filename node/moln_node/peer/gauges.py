"""The gauges of a node: what `figures` gathered, as Prometheus has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from moln_node.peer.node import ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import CollectorRegistry

    from moln_node.cluster.scrubbing import State as Scrubs
    from moln_node.peer.figures import Figures
    from moln_node.peer.tasks import Task
    from moln_node.store.activity import Activity
    from moln_node.store.model import Usage

_STATES: Final = {"ok": 0, "warn": 1, "fail": 2}
_BYTES: Final = "bytes"  # the one counter of a task that is no number of things


class Gauges:
    """Set from the figures of one moment."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(name, meaning, labels, registry=registry)

        self._ready = gauge("moln_node_ready", "1 while the node answers /ready with 200.")
        self._check = gauge("moln_node_check", "A check of /ready: 0 ok, 1 warning, 2 failed.", "check")
        self._counts = gauge("moln_node_counts", "1 while the node votes as an owner; 0 while it refills its disk.")
        self._epoch = gauge("moln_node_map_epoch", "Epoch of the cloud map that the node obeys.")
        self._capacity = gauge("moln_node_volume_capacity_bytes", "Size of the node's volume.")
        self._free = gauge("moln_node_volume_free_bytes", "Free bytes of the node's volume.")
        self._used = gauge("moln_node_volume_used_bytes", "Used bytes of the node's volume.")
        self._reserve = gauge("moln_node_volume_reserve_bytes", "Bytes that writes must leave free on the volume.")
        self._in_flight = gauge("moln_node_reserved_bytes", "Bytes reserved on the volume by writes under way.")
        self._objects = gauge("moln_node_objects", "Versions of objects kept here.", "storage_class")
        self._bytes = gauge("moln_node_object_bytes", "Bytes of them as clients wrote them.", "storage_class")
        self._bucket_objects = gauge("moln_node_bucket_objects", "Versions of objects kept here, by bucket.", "bucket")
        self._bucket_bytes = gauge("moln_node_bucket_bytes", "Bytes of them as clients wrote them.", "bucket")
        self._hints = gauge("moln_node_hints", "Registers of which the node knows that an owner lacks something.")
        self._owed = gauge("moln_node_owed", "Writes acknowledged by this node alone that the owners have yet to take.")
        self._dead_letters = gauge("moln_node_dead_letters", "Such writes that are not tried any more.")
        self._running = gauge("moln_node_task_running", "1 while maintenance of this kind runs.", "kind")
        self._progress = gauge(
            "moln_node_task_progress", "What the last maintenance of this kind has counted.", "kind", "counter"
        )
        self._task_bytes = gauge("moln_node_task_bytes", "Bytes that it went through.", "kind")
        self._ended = gauge("moln_node_task_ended_timestamp_seconds", "When it ended, and how.", "kind", "state")
        self._scrub_bytes = gauge("moln_node_scrub_bytes", "Bytes that the last full scrub of the disk read.")
        self._scrub_copies = gauge("moln_node_scrub_copies", "What it found: bad, of them healed or not.", "state")
        self._scrub_unhealed = gauge(
            "moln_node_scrub_unhealed", "Damaged copies that the last full scrub, or one since, could not heal."
        )
        self._moving = gauge(
            "moln_node_moving_registers", "Registers here whose owners change: done, and total by estimate.", "state"
        )
        self._index = gauge("moln_node_index_bytes", "Size of the index's file.")
        self._log = gauge("moln_node_index_log_bytes", "Size of its write-ahead log, which is folded into it.")
        self._lanes = gauge("moln_node_store_waiting", "Steps and queries that wait for the index.", "lane")
        self._garbage = gauge("moln_node_garbage_bodies", "Bodies without a reference that wait to be removed.")
        self._keys = gauge("moln_node_leaving_key_expiry_timestamp_seconds", "When a replaced key ends.", "access_key")
        self._totals = _Totals()
        registry.register(self._totals)
        self._known_later = _KnownLater(registry)

    def show(self, figures: Figures) -> None:
        """Set every gauge."""
        self._ready.set(ready(figures.checks))
        for check in figures.checks:
            self._check.labels(check.name).set(_STATES[check.state])
        self._counts.set(figures.counts)
        self._epoch.set(figures.epoch)
        self._capacity.set(figures.space.total)
        self._free.set(figures.space.available)
        self._used.set(figures.space.total - figures.space.available)
        self._reserve.set(figures.reserve_bytes)
        self._in_flight.set(figures.in_flight_bytes)
        _show_usage(self._objects, self._bytes, figures.classes)
        _show_usage(self._bucket_objects, self._bucket_bytes, figures.buckets)
        self._hints.set(figures.hints)
        self._owed.set(figures.owed)
        self._dead_letters.set(figures.dead_letters)
        self._moving.clear()
        if figures.moving is not None:
            self._moving.labels("done").set(figures.moving.done)
            self._moving.labels("total").set(figures.moving.total)
        self._known_later.show(
            "moln_node_moving_seconds_left",
            "How long the pass over what changes owners goes on at its pace so far.",
            None if figures.moving is None else figures.moving.seconds_left(time.monotonic()),
        )
        self._totals.now = figures
        self._show_store(figures.activity)
        self._keys.clear()
        for key, (end, _) in figures.ends.keys.items():
            self._keys.labels(key).set(end)
        self._show_scrubs(figures.scrubs)
        self._show_tasks(figures.tasks)
        self._known_later.show("moln_node_strays", "Registers held here and owned by others.", figures.strays)
        self._known_later.show(
            "moln_node_sweep_ended_timestamp_seconds",
            "When every register was last compared with its other owners.",
            figures.swept,
        )
        self._known_later.show(
            "moln_node_certificate_expiry_timestamp_seconds",
            "When the certificate of the S3 port ends.",
            figures.ends.certificate,
        )
        self._known_later.show(
            "moln_node_peer_certificate_expiry_timestamp_seconds",
            "When the certificate of port 9001 ends.",
            figures.ends.peer_certificate,
        )

    def _show_store(self, activity: Activity) -> None:
        self._index.set(activity.index_bytes)
        self._log.set(activity.log_bytes)
        self._lanes.labels("write").set(activity.waiting_writes)
        self._lanes.labels("read").set(activity.waiting_reads)
        self._garbage.set(activity.garbage)

    def _show_scrubs(self, scrubs: Scrubs) -> None:
        ended, last = scrubs.ended_ms, scrubs.last
        self._known_later.show(
            "moln_node_scrub_ended_timestamp_seconds",
            "When the last full scrub of the disk ended.",
            None if ended is None else ended / 1000,
        )
        self._scrub_bytes.set(last.bytes)
        for state, number in (("bad", last.bad), ("healed", last.healed), ("unhealed", last.unhealed)):
            self._scrub_copies.labels(state).set(number)
        self._scrub_unhealed.set(scrubs.unhealed)

    def _show_tasks(self, tasks: Mapping[str, Task]) -> None:
        for gauge in (self._running, self._progress, self._task_bytes, self._ended):
            gauge.clear()
        for kind, task in tasks.items():
            self._running.labels(kind).set(task.state == "running")
            for counter, number in task.progress.items():
                if counter == _BYTES:
                    self._task_bytes.labels(kind).set(number)
                else:
                    self._progress.labels(kind, counter).set(number)
            if task.ended_ms is not None:
                self._ended.labels(kind, task.state).set(task.ended_ms / 1000)


class _KnownLater:
    """Gauges of what is not always known: they are there while it is, because 0 would be read as an answer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._gauges: dict[str, Gauge] = {}

    def show(self, name: str, meaning: str, value: float | None) -> None:
        """Set the gauge, or take it away."""
        gauge = self._gauges.get(name)
        if value is None:
            if gauge is not None:
                self._registry.unregister(self._gauges.pop(name))
            return
        if gauge is None:
            gauge = self._gauges[name] = Gauge(name, meaning, registry=self._registry)
        gauge.set(value)


class _Totals(Collector):
    """Counters that are kept elsewhere."""

    now: Figures | None = None

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Them as they are now; nothing before the first figures."""
        if self.now is None:
            return
        totals, activity = self.now.totals, self.now.activity
        for name, meaning, value in (
            ("repaired_bytes", "Bytes of bodies that other owners took over from here.", totals.repaired_bytes),
            ("damage_found", "Copies here whose bytes did not match their checksum.", totals.damage_found),
            ("damage_healed", "Of them replaced by good ones.", totals.damage_healed),
            ("sweep_differing", "Registers that differed between their owners.", totals.sweep_differing),
            ("index_cache_hits", "Pages of the index that were in memory.", activity.cache_hits),
            ("index_cache_misses", "Pages of the index that were read from its file.", activity.cache_misses),
            ("commits", "Transactions of the index, each with its fsync.", activity.commits),
            ("commit_steps", "Changes that they were made of.", activity.steps),
            ("commit_seconds", "Time that they took.", activity.commit_seconds),
            ("collected_bodies", "Bodies without a reference that were removed.", activity.collected),
            ("graves_collected", "Deleted keys whose owners were asked to drop the rest.", totals.graves_collected),
            ("unnamed_dropped", "Bodies apart that no record named, dropped by their owners.", totals.unnamed_dropped),
            ("unnamed_dropped_bytes", "Bytes of these, each counted once.", totals.unnamed_bytes),
        ):
            yield CounterMetricFamily(f"moln_node_{name}", meaning, value=value)
        unanswered = CounterMetricFamily(
            "moln_peer_unanswered", "Calls of this node to which a peer gave no answer.", labels=["peer"]
        )
        for peer, number in totals.unanswered.items():
            unanswered.add_metric([peer], number)
        yield unanswered
        keys = CounterMetricFamily(
            "moln_node_leaving_key_requests", "Requests with an access key that was replaced.", labels=["access_key"]
        )
        for key, (_, asked) in self.now.ends.keys.items():
            keys.add_metric([key], asked)
        yield keys


def _show_usage(objects: Gauge, size: Gauge, usage: Mapping[str, Usage]) -> None:
    objects.clear()
    size.clear()
    for name, held in usage.items():
        objects.labels(name).set(held.objects)
        size.labels(name).set(held.bytes)
