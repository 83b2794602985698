"""What Prometheus sees of a node. Labels are bounded: operations, calls, codes, classes, largest buckets; never keys.

Made by the process, fed by the S3 front, the peer port and the watch; served by port 9001. Every sample carries the
cloud's name, because no scraper knows it; the namespace and the pod are for the scraper to add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from moln_node.peer.gauges import Gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moln_node.peer.figures import Figures
    from moln_node.s3.settings import Seen

_LATENCY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """One node's metrics in a registry of their own, so that two nodes in one test do not meet."""

    def __init__(self, version: str, cloud: str = "") -> None:
        registry = CollectorRegistry()
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
        self._in_flight = Gauge("moln_s3_requests_in_flight", "S3 requests under way.", registry=registry)
        self.received = Counter("moln_s3_received_bytes", "Bytes of request bodies taken.", registry=registry)
        self.sent = Counter("moln_s3_sent_bytes", "Bytes of answers' bodies sent.", registry=registry)
        self.calls = Counter(
            "moln_peer_requests",
            "Calls of other nodes and of the operator answered.",
            ("call", "code"),
            registry=registry,
        )
        self.call_seconds = Histogram(
            "moln_peer_request_seconds",
            "From the head of a call on port 9001 to the end of its answer.",
            ("call",),
            buckets=_LATENCY,
            registry=registry,
        )
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
        self.expired = Gauge(
            "moln_node_lifecycle_ended_timestamp_seconds",
            "When this node last carried out the lifecycle rules for all; 0 where another does.",
            registry=registry,
        )
        self._answers: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._gauges = Gauges(registry)
        self._shown = CollectorRegistry()
        self._shown.register(_OfCloud(registry, cloud))

    def observe_request(self, seen: Seen) -> None:
        """Count one answered S3 request."""
        count, seconds = self._of_answer(seen.operation, seen.status)
        count.inc()
        seconds.observe(seen.seconds)
        self.received.inc(seen.received)
        self.sent.inc(seen.sent)

    def _of_answer(self, operation: str, status: int) -> tuple[Counter, Histogram]:
        """The counter and the histogram of such answers; to find them by their labels costs more than to count."""
        found = self._answers.get((operation, status))
        if found is None:
            found = self.requests.labels(operation, str(status)), self.seconds.labels(operation)
            self._answers[operation, status] = found
        return found

    def observe_call(self, call: str, status: int, seconds: float) -> None:
        """Count one answered call on port 9001; `call` is a route, never a path."""
        self.calls.labels(call, str(status)).inc()
        self.call_seconds.labels(call).observe(seconds)

    def watch_requests(self, under_way: Callable[[], int]) -> None:
        """Ask `under_way` how many S3 requests there are."""
        self._in_flight.set_function(under_way)

    def show(self, figures: Figures) -> bytes:
        """The exposition text, with the gauges as `figures` has them."""
        self._gauges.show(figures)
        return generate_latest(self._shown)


class _OfCloud(Collector):
    """Every sample of a registry, with the cloud's name, and without the time at which its counter was made."""

    def __init__(self, registry: CollectorRegistry, cloud: str) -> None:
        self._registry = registry
        self._labels = {"cloud": cloud}

    def collect(self) -> Iterator[Metric]:
        """The samples as they are now."""
        for family in self._registry.collect():
            shown = Metric(family.name, family.documentation, family.type, family.unit)
            shown.samples = [
                sample._replace(labels=self._labels | sample.labels)
                for sample in family.samples
                if not sample.name.endswith("_created")
            ]
            yield shown
