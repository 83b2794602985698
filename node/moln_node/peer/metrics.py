"""What Prometheus sees of a node. Labels are bounded: operations, status codes and storage classes, never keys.

Made by the process, fed by the S3 front's middleware, the watch and the gauges' callbacks; served by port 9001.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from moln_node.peer.status import Status
    from moln_node.s3.settings import Seen

_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """One node's metrics in a registry of their own, so that two nodes in one test do not meet."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("moln_node_build", "The release that runs.", registry=registry).info({"version": version})
        self.requests = Counter("moln_s3_requests", "S3 requests answered.", ("operation", "code"), registry=registry)
        self.seconds = Histogram(
            "moln_s3_request_seconds",
            "From an S3 request's head to the end of its answer.",
            ("operation",),
            buckets=_LATENCY,
            registry=registry,
        )
        self.received = Counter("moln_s3_received_bytes", "Bytes of request bodies taken.", registry=registry)
        self.sent = Counter("moln_s3_sent_bytes", "Bytes of answers' bodies sent.", registry=registry)
        self.lag = Histogram(
            "moln_node_event_loop_lag_seconds",
            "How late the event loop ran a timer.",
            buckets=_LAG,
            registry=registry,
        )
        self.fsync = Histogram(
            "moln_node_fsync_seconds",
            "A small write and its fsync on the node's disk, tried at each probe.",
            buckets=_LATENCY,
            registry=registry,
        )
        self._ready = Gauge("moln_node_ready", "1 while the node answers /ready with 200.", registry=registry)
        self._epoch = Gauge("moln_node_map_epoch", "Epoch of the cloud map that the node obeys.", registry=registry)
        self._capacity = Gauge("moln_node_volume_capacity_bytes", "Size of the node's volume.", registry=registry)
        self._free = Gauge("moln_node_volume_free_bytes", "Free bytes of the node's volume.", registry=registry)
        self._used = Gauge("moln_node_volume_used_bytes", "Used bytes of the node's volume.", registry=registry)
        self._objects = Gauge("moln_node_objects", "Versions of objects kept.", ("storage_class",), registry=registry)
        self._bytes = Gauge(
            "moln_node_object_bytes", "Bytes of objects as clients wrote them.", ("storage_class",), registry=registry
        )

    def observe_request(self, seen: Seen) -> None:
        """Count one answered S3 request."""
        self.requests.labels(seen.operation, str(seen.status)).inc()
        self.seconds.labels(seen.operation).observe(seen.seconds)
        self.received.inc(seen.received)
        self.sent.inc(seen.sent)

    def show(self, status: Status) -> bytes:
        """The exposition text, with the gauges taken from `status`."""
        self._ready.set(status.ready)
        self._epoch.set(status.epoch)
        self._capacity.set(status.capacity_bytes)
        self._free.set(status.free_bytes)
        self._used.set(status.used_bytes)
        self._objects.clear()
        self._bytes.clear()
        for name, usage in status.classes.items():
            self._objects.labels(name).set(usage.objects)
            self._bytes.labels(name).set(usage.bytes)
        return generate_latest(self.registry)
