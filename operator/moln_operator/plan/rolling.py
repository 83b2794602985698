"""Which pod is restarted next, where pods do not run as the spec asks: one at a time, and never into thin copies. Pure.

Kubernetes alone would go on as soon as a pod is ready. Here the next one waits until every node answers, counts, and
knows of nothing that another one lacks, so that no two owners of a key are down or behind by our doing. A new image
that does not run therefore stops at the first node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moln_operator.kube.inventory import is_ready, status_of
from moln_operator.plan import names

if TYPE_CHECKING:
    from moln_operator.kube.inventory import Known
    from moln_operator.observe.state import Observed
    from moln_spec.cloudmap import CloudMap


@dataclass(frozen=True, slots=True)
class Roll:
    """How far the pods are.

    Attributes:
        outdated: pods that do not run as the spec asks yet, in the order in which they are restarted.
        restart: the pod to restart now; None where there is none, or it has to wait.
        waits: why none is restarted now, as sentences.
    """

    outdated: tuple[str, ...] = ()
    restart: Known | None = None
    waits: tuple[str, ...] = ()


def roll(observed: Observed, cloud_map: CloudMap, hold: str = "") -> Roll:
    """The next step of a rolling restart; `hold` is why no pod that serves may be restarted now, if any."""
    serving = [node.name for node in cloud_map.nodes if node.state != "spare"]
    outdated = sorted(filter(None, map(observed.pods.get, _outdated(observed))), key=_order)
    down = [pod for pod in outdated if not pod.deleting and not _answers(observed, pod.name)]
    idle = [pod for pod in outdated if not pod.deleting and pod.name not in serving]
    waits = tuple(filter(None, (hold, *(_trouble(observed, name, cloud_map.epoch) for name in serving))))
    listed = tuple(pod.name for pod in outdated)
    if down or idle:  # nobody depends on it as it is
        return Roll(listed, (down or idle)[0], waits)
    if not outdated or waits:
        return Roll(listed, None, waits)
    return Roll(listed, outdated[0], ())


def _outdated(observed: Observed) -> list[str]:
    """The pods that were made from another template than their StatefulSet has now."""
    found = []
    for pool, known in observed.stateful_sets.items():
        status = status_of(known)
        if status.get("observedGeneration") != known.content.get("generation"):
            continue  # Kubernetes has yet to look at the newest template
        found += [
            name
            for name, pod in observed.pods.items()
            if name.rpartition("-")[0] == pool and pod.content["revision"] not in ("", status.get("updateRevision"))
        ]
    return found


def _order(pod: Known) -> tuple[str, int]:
    """The highest of a pool first, as pods go and come in a StatefulSet."""
    return (pod.name.rpartition("-")[0], -names.ordinal(pod.name))


def _answers(observed: Observed, pod: str) -> bool:
    """Whether a pod serves in any way: Kubernetes finds it ready, or its node answers the operator."""
    return is_ready(observed.pods[pod]) or observed.answer(pod).status is not None


def _trouble(observed: Observed, name: str, epoch: int) -> str:
    """Why nobody else may be restarted now because of this node; empty where it is whole."""
    pod, status = observed.pods.get(name), observed.answer(name).status
    if pod is None or pod.deleting:
        return f"{name} is being restarted"
    if status is None or not status.ready or not is_ready(pod):
        return f"{name} is not ready"
    if not status.counts:
        return f"{name} is being refilled"
    if status.epoch < epoch:
        return f"{name} has yet to take the newest map"
    return f"{name} knows of {status.hints} copies that are still to be made" if status.hints else ""
