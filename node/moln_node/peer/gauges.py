"""The gauges of a node: what `figures` gathered, as Prometheus has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from moln_node.peer.node import ready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry

    from moln_node.peer.figures import Figures
    from moln_node.peer.tasks import Task
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
        self._running = gauge("moln_node_task_running", "1 while maintenance of this kind runs.", "kind")
        self._progress = gauge(
            "moln_node_task_progress", "What the last maintenance of this kind has counted.", "kind", "counter"
        )
        self._task_bytes = gauge("moln_node_task_bytes", "Bytes that it went through.", "kind")
        self._ended = gauge("moln_node_task_ended_timestamp_seconds", "When it ended, and how.", "kind", "state")
        self._registry = registry
        self._expires: Gauge | None = None

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
        self._show_tasks(figures.tasks)
        self._show_certificate(figures.certificate_expires)

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

    def _show_certificate(self, expires: float | None) -> None:
        """Only a node that speaks TLS has this gauge: 0 would be read as expired."""
        if expires is None:
            return
        if self._expires is None:
            self._expires = Gauge(
                "moln_node_certificate_expiry_timestamp_seconds",
                "When the certificate of the S3 port ends.",
                registry=self._registry,
            )
        self._expires.set(expires)


def _show_usage(objects: Gauge, size: Gauge, usage: Mapping[str, Usage]) -> None:
    objects.clear()
    size.clear()
    for name, held in usage.items():
        objects.labels(name).set(held.objects)
        size.labels(name).set(held.bytes)
