"""The statuses of a Cloud, its StorageNodes and its policies. Pure: from a reconcile's outcome to documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moln_operator.kube import labels
from moln_operator.kube.inventory import status_of
from moln_operator.plan.disruption import advice, only_node
from moln_operator.plan.pools import deleted
from moln_operator.report.conditions import FREE_TO_LEAVE, Verdict, dated, not_ready, scale_down_blocked, verdicts
from moln_operator.report.nodes import NodeState, node_states
from moln_spec.quantity import short
from moln_spec.resources.cloud import CloudStatus, MapStatus, NodeCount, OnlyNode, Usage
from moln_spec.resources.policy import ReplicationPolicy, ReplicationPolicyStatus
from moln_spec.resources.storagenode import StorageNode, StorageNodeStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moln_operator.report.outcome import Outcome
    from moln_spec.resources.cloud import Cloud


def cloud_status(outcome: Outcome) -> CloudStatus:
    """The status of the Cloud."""
    observed = outcome.observed
    cloud = observed.cloud
    nodes = node_states(outcome)
    usage = _usage(outcome)
    epochs = [node.epoch for node in nodes if node.serves]
    return CloudStatus(
        observed_generation=cloud.metadata.generation,
        conditions=dated(
            verdicts(outcome, nodes),
            cloud.status.conditions,
            cloud.metadata.generation,
            observed.now,
        ),
        endpoint=f"{_scheme(cloud)}://{cloud.metadata.name}.{cloud.metadata.namespace}.svc:{cloud.spec.service.port}",
        external_endpoint=_external(outcome),
        root_secret_name=cloud.root_secret_name,
        nodes=count(nodes),
        map=MapStatus(
            epoch=outcome.cloud_map.epoch if outcome.cloud_map is not None else 0,
            acknowledged=min(epochs, default=0),
        ),
        usage=usage,
        only_node=_only_node(outcome),
        selector=labels.selector(labels.of_nodes(cloud.metadata.name)),
    )


def _only_node(outcome: Outcome) -> OnlyNode:
    """The node that alone has the data, and what to do before its machine is drained."""
    name = only_node(outcome.cloud_map)
    return OnlyNode(name=name, advice=advice(outcome.observed.cloud.metadata.name, name)) if name else OnlyNode()


def count(nodes: Sequence[NodeState]) -> NodeCount:
    """How many nodes there are."""
    desired = sum(node.wanted for node in nodes)
    ready = sum(node.ready and node.state != "spare" for node in nodes)
    return NodeCount(
        desired=desired,
        current=sum(node.exists for node in nodes),
        ready=ready,
        summary=f"{ready}/{desired}",
    )


def _usage(outcome: Outcome) -> Usage:
    """What the nodes hold; while one does not answer, what was known before, and no number that is too small."""
    answered = [answer.status for answer in outcome.answers.values() if answer.status is not None]
    if not answered or len(answered) < len(outcome.observed.pods):
        return outcome.observed.cloud.status.usage
    capacity = sum(status.capacity_bytes for status in answered)
    used = sum(status.used_bytes for status in answered)
    return Usage(
        capacity=short(capacity),
        used=short(used),
        used_percent=round(100 * used / capacity) if capacity else 0,
        objects=sum(status.objects for status in answered),
    )


def _external(outcome: Outcome) -> str:
    """The endpoint outside the cluster, where the Ingress or the load balancer gives one."""
    spec = outcome.observed.cloud.spec
    if spec.ingress is not None:
        return f"{'https' if spec.ingress.tls_secret_name else 'http'}://{spec.ingress.host}"
    service = status_of(outcome.observed.services.get(outcome.observed.cloud.metadata.name))
    for entry in service.get("loadBalancer", {}).get("ingress", ()):
        host = entry.get("hostname") or entry.get("ip")
        if host:
            return f"{_scheme(outcome.observed.cloud)}://{host}:{spec.service.port}"
    return ""


def _scheme(cloud: Cloud) -> str:
    """How the nodes themselves speak."""
    return "http" if cloud.spec.tls is None else "https"


def storage_node_status(outcome: Outcome, pool: StorageNode) -> StorageNodeStatus:
    """The status of one pool."""
    nodes = [node for node in node_states(outcome) if node.pool == pool.metadata.name]
    serving = [node for node in nodes if node.serves]
    waiting = [node for node in serving if not node.ready]
    found = (
        not_ready(waiting)
        if waiting
        else Verdict("Ready", "True", "AllNodesReady", f"{len(serving)} of {len(serving)} nodes serve")
    )
    if deleted(pool):
        found = Verdict("Ready", "False", "Emptying", _draining(outcome, nodes))
    taken = (
        Verdict("Accepted", "False", "Contradiction", "; ".join(outcome.problems))
        if outcome.problems
        else Verdict("Accepted", "True", "Valid", f"the pool is part of the cloud {pool.spec.cloud_ref.name}")
    )
    cloud = outcome.observed.cloud.metadata.name
    return StorageNodeStatus(
        observed_generation=pool.metadata.generation,
        conditions=dated(
            (found, taken, _blocked(outcome, nodes)),
            pool.status.conditions,
            pool.metadata.generation,
            outcome.observed.now,
        ),
        nodes=count(nodes),
        selector=labels.selector(labels.of_pool(cloud, pool.metadata.name)),
    )


def _draining(outcome: Outcome, nodes: Sequence[NodeState]) -> str:
    """What a pool that was deleted waits for."""
    step = outcome.step
    if outcome.problems:
        return f"it can't be emptied: {'; '.join(outcome.problems)}"
    if not any(node.state for node in nodes):
        return "its nodes are empty, and its pods stop; the volumes are kept"
    why = () if step is None else step.waits if step.refusal is None else (step.refusal.message, *step.waits)
    return f"what its nodes hold is being moved to the other pools; {'; '.join(why) or 'nothing is in the way'}"


def _blocked(outcome: Outcome, nodes: Sequence[NodeState]) -> Verdict:
    """The Cloud's ScaleDownBlocked, where it concerns a node of the pool."""
    concerned = any(node.state and not node.wanted for node in nodes)
    return scale_down_blocked(outcome) if concerned else FREE_TO_LEAVE


def policy_status(
    policy: ReplicationPolicy, cloud: Cloud | None, nodes: int, problems: Sequence[str], now: float
) -> ReplicationPolicyStatus:
    """The status of one policy, of whose pools so many nodes are members; without a Cloud it says so."""
    name, copies, pools = policy.spec.cloud_ref.name, policy.spec.copies, policy.spec.pools
    where = f"in {', '.join(pools)} there are" if pools else "the cloud has"
    if cloud is None:
        found = Verdict("Accepted", "False", "NoSuchCloud", f"there is no Cloud {name} in this namespace")
    elif problems:
        found = Verdict(
            "Accepted", "False", "CloudNotAccepted", f"the Cloud {name} is not accepted; see its conditions"
        )
    elif pools and not nodes:
        found = Verdict(
            "Accepted", "True", "PoolsAreEmpty", f"{where} no nodes yet: until then any node may hold what it selects"
        )
    elif copies > nodes:
        some = "1 node: each object has 1 copy" if nodes == 1 else f"{nodes} nodes: each object has {nodes} copies"
        found = Verdict("Accepted", "True", "FewerNodesThanCopies", f"{copies} copies are asked for, {where} {some}")
    else:
        found = Verdict("Accepted", "True", "Valid", f"each object that it selects has {copies} copies")
    return ReplicationPolicyStatus(
        observed_generation=policy.metadata.generation,
        conditions=dated((found,), policy.status.conditions, policy.metadata.generation, now),
    )
