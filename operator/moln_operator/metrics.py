"""What Prometheus sees of the operator: its own work, and each Cloud as it finds it.

Labels are kinds, results, and the names of Clouds; never those of objects that users put in them.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from moln_spec.cloudmap import NodeState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from moln_operator.kube.inventory import CloudKey
    from moln_operator.observe.nodes import Answer
    from moln_operator.observe.overview import CloudView
    from moln_spec.nodestatus import NodeStatus

_CLOUD: Final = ("cloud_namespace", "cloud")
"""Not `namespace`: that is where the operator runs, and the scraper's to say."""


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
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
        self.leader = Gauge("moln_operator_leader", "1 while this process reconciles.", registry=self.registry)
        self._looked: dict[CloudKey, float] = {}
        self._heard: dict[CloudKey, tuple[NodeStatus, ...]] = {}

    def wrote(self, kind: str, verb: str) -> None:
        """One write to the API is about to be made."""
        self._writes.labels(kind, verb).inc()

    def reconciled(self, result: str, cloud: CloudKey) -> None:
        """One look at a Cloud is over: `ok`, `error` or `gone`."""
        self._reconciles.labels(result).inc()
        if result == "ok":
            self._looked[cloud] = time.time()
        elif result == "gone":
            self._looked.pop(cloud, None)
            self._heard.pop(cloud, None)

    def heard(self, cloud: CloudKey, answers: Mapping[str, Answer]) -> None:
        """What a Cloud's nodes said of themselves when they were last asked."""
        self._heard[cloud] = tuple(answer.status for answer in answers.values() if answer.status is not None)

    def show_clouds(self, clouds: Callable[[], tuple[CloudView, ...]]) -> None:
        """From now on every Cloud is shown as `clouds` finds it."""
        self.registry.register(_Clouds(clouds, self._looked, self._heard))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class _Clouds(Collector):
    """Each Cloud's gauges, made anew for every scrape: a Cloud that is gone leaves nothing behind."""

    def __init__(
        self,
        clouds: Callable[[], tuple[CloudView, ...]],
        looked: Mapping[CloudKey, float],
        heard: Mapping[CloudKey, tuple[NodeStatus, ...]],
    ) -> None:
        self._clouds = clouds
        self._looked = looked
        self._heard = heard

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they are now."""
        clouds = self._clouds()
        yield _count(clouds)
        looked = _family("reconciled_timestamp_seconds", "When a look at the Cloud last ended well.")
        for cloud in clouds:
            if cloud.key in self._looked:
                looked.add_metric(cloud.key, self._looked[cloud.key])
        yield looked
        yield from _statuses(clouds)
        yield from _maps(clouds)
        yield from _copies(clouds)
        yield from _progress(clouds, self._heard)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing is asked for at the time of registration."""
        yield from ()


def _family(name: str, meaning: str, *more: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"moln_operator_cloud_{name}", meaning, labels=(*_CLOUD, *more))


def _count(clouds: tuple[CloudView, ...]) -> GaugeMetricFamily:
    found = GaugeMetricFamily(
        "moln_operator_clouds", "Clouds by the reason of their Ready condition.", labels=["reason"]
    )
    reasons = Tally(
        next((one.reason for one in cloud.status.conditions if one.type == "Ready"), "Unknown") for cloud in clouds
    )
    for reason, number in reasons.items():
        found.add_metric((reason,), number)
    return found


def _statuses(clouds: tuple[CloudView, ...]) -> Iterator[GaugeMetricFamily]:
    """What the Clouds' statuses say."""
    condition = _family("condition", "1 where a condition of the Cloud is True, else 0.", "type")
    nodes = _family("nodes", "Nodes that are asked for (desired), exist (current), are ready.", "state")
    acknowledged = _family("acknowledged_epoch", "The epoch that every node has; 0 while one has not answered.")
    for cloud in clouds:
        for one in cloud.status.conditions:
            condition.add_metric((*cloud.key, one.type), one.status == "True")
        counted = cloud.status.nodes
        for state, number in (("desired", counted.desired), ("current", counted.current), ("ready", counted.ready)):
            nodes.add_metric((*cloud.key, state), number)
        acknowledged.add_metric(cloud.key, cloud.status.map.acknowledged)
    yield from (condition, nodes, acknowledged)


def _maps(clouds: tuple[CloudView, ...]) -> Iterator[GaugeMetricFamily]:
    """What the cloud maps say."""
    epoch = _family("map_epoch", "Epoch of the Cloud's newest map.")
    changing = _family("change_under_way", "1 while the map moves keys from one layout to the next.")
    members = _family("map_nodes", "Nodes in the map, by where each is in its life.", "state")
    for cloud in clouds:
        if cloud.map is not None:
            epoch.add_metric(cloud.key, cloud.map.epoch)
            changing.add_metric(cloud.key, cloud.map.change is not None)
            states = Tally(dict.fromkeys(get_args(NodeState), 0))
            states.update(node.state for node in cloud.map.nodes)
            for state, number in states.items():
                members.add_metric((*cloud.key, state), number)
    yield from (epoch, changing, members)


def _copies(clouds: tuple[CloudView, ...]) -> Iterator[GaugeMetricFamily]:
    """What the nodes that are ready hold of the data."""
    copies = _family("copies", "Owners that each key has.")
    fewest = _family("fewest_serving_copies", "Owners that are ready, of the key that is worst off.")
    stuck = _family("stuck_partitions", "Partitions of whose owners no majority is ready: no reads, no writes.")
    for cloud in clouds:
        if cloud.coverage is not None:
            copies.add_metric(cloud.key, cloud.coverage.copies)
            fewest.add_metric(cloud.key, cloud.coverage.fewest)
            stuck.add_metric(cloud.key, cloud.coverage.stuck)
    yield from (copies, fewest, stuck)


def _progress(
    clouds: tuple[CloudView, ...], heard: Mapping[CloudKey, tuple[NodeStatus, ...]]
) -> Iterator[GaugeMetricFamily]:
    """How far a change of layout is, and what is left on nodes that leave; there while there is such a thing."""
    moving = _family("moving_registers", "Registers whose owners change: done, and total by estimate.", "state")
    moved = _family("moved_bytes", "Bytes of bodies that nodes took over for the change under way.")
    leaving = _family("leaving_registers", "Registers left on a node that leaves.", "node")
    for cloud in clouds:
        said = heard.get(cloud.key, ())
        passes = [status.moving for status in said if status.moving is not None]
        if passes:
            moving.add_metric((*cloud.key, "done"), sum(one.done for one in passes))
            moving.add_metric((*cloud.key, "total"), sum(one.total for one in passes))
            moved.add_metric(cloud.key, sum(one.bytes for one in passes))
        states = {} if cloud.map is None else {node.name: node.state for node in cloud.map.nodes}
        for status in said:
            if states.get(status.node) == "leaving":
                leaving.add_metric((*cloud.key, status.node), status.registers)
    yield from (moving, moved, leaving)
