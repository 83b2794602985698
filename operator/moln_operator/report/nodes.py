"""How each node is, judged from its pod and from what it says itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from moln_operator.observe.nodes import Answer
from moln_operator.plan import names
from moln_operator.plan.cloudmap import START_SECONDS
from moln_operator.plan.pools import node_names, wanted_pools

if TYPE_CHECKING:
    from moln_operator.kube.inventory import Known
    from moln_operator.report.outcome import Outcome

LONGEST_WORDS: Final = 300


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node.

    Attributes:
        name: its name.
        pool: its pool.
        state: where it is in its life, as the map says; empty where the map does not name it.
        wanted: the user asks for it.
        exists: its pod exists.
        ready: it answers, says that it is ready, and Kubernetes sends it requests.
        why: a sentence when it is not ready.
        starting: it is not ready in the way of every start; nobody needs to look.
        epoch: the epoch that it has acknowledged; 0 when it does not answer.
        stranger: it holds the data of another cloud.
        counts: as far as it says, it counts as an owner.
    """

    name: str
    pool: str
    exists: bool
    ready: bool
    why: str
    epoch: int
    starting: bool = False
    stranger: bool = False
    counts: bool = True
    state: str = ""
    wanted: bool = True

    @property
    def serves(self) -> bool:
        """Whether clients depend on it: not before it is taken in. Without a map that is everybody."""
        return self.state != "spare"


def node_states(outcome: Outcome) -> tuple[NodeState, ...]:
    """Every node that the spec asks for or the map names, by pool and number."""
    cloud_map = outcome.cloud_map
    states = {node.name: node.state for node in cloud_map.nodes} if cloud_map is not None else {}
    wanted = {
        names.pod(pool, ordinal)
        for pool, spec in wanted_pools(outcome.observed).items()
        for ordinal in range(spec.replicas)
    }
    return tuple(
        replace(_state(outcome, pool, name), state=states.get(name, ""), wanted=name in wanted)
        for name, pool in node_names(outcome.observed, cloud_map).items()
    )


def _state(outcome: Outcome, pool: str, name: str) -> NodeState:
    pod = outcome.observed.pods.get(name)
    if pod is None:
        why, starting = _not_made(outcome, pool, name)
        return NodeState(name, pool, exists=False, ready=False, why=why, epoch=0, starting=starting)
    answer = outcome.answers.get(name) or Answer(error="its pod has no address yet")
    status = answer.status
    epoch = status.epoch if status is not None else 0
    stranger = status is not None and outcome.cloud_map is not None and status.uid != outcome.cloud_map.uid
    why, starting = _why_not(pod, answer)
    if stranger:
        why = "its volume holds the data of another cloud; give the pool another name, or delete that volume"
    return NodeState(
        name,
        pool,
        exists=True,
        ready=not why,
        why=why,
        epoch=epoch,
        starting=starting,
        stranger=stranger,
        counts=status is None or status.counts,
    )


def _not_made(outcome: Outcome, pool: str, name: str) -> tuple[str, bool]:
    """What to say of a pod that does not exist, and whether that is part of every start."""
    observed = outcome.observed
    if observed.now - observed.missing.get(name, observed.now) < START_SECONDS:
        return "its pod does not exist yet", True
    return f"Kubernetes does not make its pod; kubectl describe statefulset {pool} says why", False


def _why_not(pod: Known, answer: Answer) -> tuple[str, bool]:
    """Why a node is not ready (empty when it is), and whether that is part of every start."""
    if pod.deleting:
        return "its pod is stopping", True
    return _pod_trouble(pod) or _node_trouble(pod, answer)


def _pod_trouble(pod: Known) -> tuple[str, bool] | None:
    """What Kubernetes says against the pod; None when it runs."""
    scheduled = pod.content["conditions"].get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"its pod can't be scheduled: {scheduled.get('message', 'no reason is given')}", False
    for reason, message in pod.content["waiting"]:
        if reason not in ("ContainerCreating", "PodInitializing"):
            words = message[-LONGEST_WORDS:]
            return f"its container waits: {reason}" + (f" ({words})" if words else ""), False
    return None


def _node_trouble(pod: Known, answer: Answer) -> tuple[str, bool]:
    """What the node says against itself, or that it says nothing."""
    is_ready = pod.content["conditions"].get("Ready", {}).get("status") == "True"
    if answer.status is None and not pod.content["started"]:
        return "its pod is starting", True
    if answer.status is None:
        machine = "" if is_ready else f"; Kubernetes finds it not ready (is the machine {pod.content['node']} up?)"
        return f"the operator gets no answer: {answer.error}{machine}", False
    if not answer.status.ready:
        failing = [f"{check.name}: {check.message}" for check in answer.status.checks if check.state == "fail"]
        return f"it is not ready by its own word ({'; '.join(failing)})", False
    return ("", False) if is_ready else ("Kubernetes has not seen it ready yet", True)
