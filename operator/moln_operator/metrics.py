"""What the operator counts, for /metrics. Labels are kinds and results, never names: their number is bounded."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moln_operator.kube.inventory import Known


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._writes = Counter(
            "moln_operator_api_writes_total", "Writes to the Kubernetes API.", ("kind", "verb"), registry=self.registry
        )
        self._reconciles = Counter(
            "moln_operator_reconciles_total", "Looks at a Cloud, by result.", ("result",), registry=self.registry
        )
        self.duration = Histogram(
            "moln_operator_reconcile_seconds",
            "Time that one look at a Cloud took.",
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 30),
            registry=self.registry,
        )
        self.queue = Gauge("moln_operator_queue_length", "Clouds that wait to be looked at.", registry=self.registry)
        self.objects = Gauge("moln_operator_known_objects", "Objects in the inventory.", registry=self.registry)
        self.clouds = Gauge(
            "moln_operator_clouds",
            "Clouds by the reason of their Ready condition.",
            ("reason",),
            registry=self.registry,
        )
        self.leader = Gauge("moln_operator_leader", "1 while this process reconciles.", registry=self.registry)

    def wrote(self, kind: str, verb: str) -> None:
        """One write to the API is about to be made."""
        self._writes.labels(kind, verb).inc()

    def reconciled(self, result: str) -> None:
        """One look at a Cloud is over: `ok`, `error` or `gone`."""
        self._reconciles.labels(result).inc()

    def count_clouds(self, clouds: Iterable[Known]) -> None:
        """How many Clouds there are, by the reason of their Ready condition."""
        reasons: Tally[str] = Tally()
        for cloud in clouds:
            conditions = (cloud.content.get("status") or {}).get("conditions", ())
            reasons[next((c["reason"] for c in conditions if c["type"] == "Ready"), "Unknown")] += 1
        self.clouds.clear()
        for reason, number in reasons.items():
            self.clouds.labels(reason).set(number)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
