"""The conditions of a Cloud: pure functions from a reconcile's outcome to sentences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from moln_operator.plan.disruption import advice, only_node
from moln_operator.plan.peers import is_too_old
from moln_spec.cloudmap import DEFAULT_COPIES
from moln_spec.mapmaking import places_of
from moln_spec.nodestatus import damage_words
from moln_spec.quantity import about, short
from moln_spec.resources.meta import Condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from moln_operator.report.nodes import NodeState
    from moln_operator.report.outcome import Outcome
    from moln_spec.cloudmap import BodyPlace, CloudMap
    from moln_spec.nodestatus import NodeStatus

FULL_PERCENT: Final = 90
LONGEST: Final = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition before it is given a time."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""


FREE_TO_LEAVE: Final = Verdict("ScaleDownBlocked", "False", "AsExpected", "nothing keeps nodes from leaving")


def verdicts(outcome: Outcome, nodes: Sequence[NodeState]) -> tuple[Verdict, ...]:
    """Every condition of a Cloud."""
    found = [
        accepted(outcome),
        ready(outcome, nodes),
        progressing(outcome, nodes),
        degraded(outcome, nodes),
        scale_down_blocked(outcome),
    ]
    if outcome.observed.cloud.spec.paused:
        found.append(Verdict("Paused", "True", "AskedFor", "the operator changes nothing; set paused: false to go on"))
    return tuple(found)


def accepted(outcome: Outcome) -> Verdict:
    """Whether the spec, with the resources that refer to it, can be put into effect."""
    if outcome.problems:
        return Verdict("Accepted", "False", "Contradiction", "; ".join(outcome.problems))
    empty = [
        f"{place.keeper}: in {', '.join(place.pools)} there are no nodes yet; until then any node may hold its bytes"
        for place in _empty_places(outcome.cloud_map)
    ]
    if empty:
        return Verdict("Accepted", "True", "PoolsAreEmpty", "; ".join(empty))
    return Verdict("Accepted", "True", "Valid", "the spec can be put into effect")


def _empty_places(cloud_map: CloudMap | None) -> list[BodyPlace]:
    """Where bytes shall live, and no member is, by the classes and rules that nodes obey."""
    if cloud_map is None:
        return []
    there = {member.pool for member in cloud_map.layout.members}
    asked = places_of(cloud_map)
    return [place for place in asked if there.isdisjoint(place.pools)]


def ready(outcome: Outcome, nodes: Sequence[NodeState]) -> Verdict:
    """Whether every node serves by the newest map. Says no more than was checked."""
    if outcome.observed.cloud.metadata.deletion_timestamp is not None:
        return Verdict("Ready", "False", "Deleting", outcome.waiting or "the cloud is being deleted")
    if outcome.problems:
        epoch = outcome.cloud_map.epoch if outcome.cloud_map is not None else 0
        still = f"; nodes go on by the last accepted spec (epoch {epoch})" if epoch else ""
        return Verdict("Ready", "False", "NotAccepted", "; ".join(outcome.problems) + still)
    serving = [node for node in nodes if node.serves]
    waiting = [node for node in serving if not node.ready]
    if waiting:
        return not_ready(waiting)
    late = _behind(outcome, serving) or _uncounted(serving)
    if late is not None:
        return late
    if outcome.error:
        return Verdict("Ready", "False", "ApplyFailed", outcome.error)
    count = len(serving)
    return Verdict("Ready", "True", "AllNodesReady", f"{count} of {count} nodes serve; {_copies(count)}")


def _behind(outcome: Outcome, serving: Sequence[NodeState]) -> Verdict | None:
    """Ready is False where a node has yet to obey the newest map."""
    epoch = outcome.cloud_map.epoch if outcome.cloud_map is not None else 0
    behind = [node.name for node in serving if node.epoch < epoch]
    if serving and epoch and not behind:
        return None
    text = f"epoch {epoch} of the map has not reached {', '.join(behind) or 'any node'}"
    return Verdict("Ready", "False", "MapNotAcknowledged", text)


def _uncounted(serving: Sequence[NodeState]) -> Verdict | None:
    """Ready is False where so few nodes count as owners that there may be keys without a majority.

    As at a first start until the nodes have heard of each other, or while a disk of two is filled again.
    """
    uncounted = [node.name for node in serving if not node.counts]
    if len(uncounted) <= (min(len(serving), DEFAULT_COPIES) - 1) // 2:
        return None
    text = f"{', '.join(uncounted)}: not an owner yet, until enough of the others answer and the disk is filled"
    return Verdict("Ready", "False", "NodesStarting", text)


def not_ready(waiting: Sequence[NodeState]) -> Verdict:
    """Ready is False, because of these nodes; the reason tells a start from something to look at."""
    reason = "NodesStarting" if all(node.starting for node in waiting) else "NodesNotReady"
    return Verdict("Ready", "False", reason, "; ".join(f"{node.name}: {node.why}" for node in waiting))


def _copies(nodes: int) -> str:
    return "with one node there is one copy of each object" if nodes == 1 else "a majority of the copies decides"


def progressing(outcome: Outcome, nodes: Sequence[NodeState]) -> Verdict:
    """Whether something is on its way, so that waiting makes sense."""
    observed = outcome.observed
    if observed.cloud.metadata.deletion_timestamp is not None:
        return Verdict("Progressing", "True", "Deleting", outcome.waiting)
    if outcome.problems or observed.cloud.spec.paused:
        return Verdict("Progressing", "False", "Stopped", "nothing is changed until that is resolved")
    found = movement(outcome, nodes) or step_by_step(outcome) or _pods(outcome, nodes)
    return found or Verdict("Progressing", "False", "Settled", "everything is as the spec asks")


def _pods(outcome: Outcome, nodes: Sequence[NodeState]) -> Verdict | None:
    """Which pods are about to stop or to start; None where each is as it shall be."""
    waiting = [node.name for node in nodes if not node.ready]
    if waiting:
        return Verdict("Progressing", "True", "NodesStarting", f"waiting for {', '.join(waiting)}")
    stopping = sorted(set(outcome.observed.pods) - {node.name for node in nodes})
    if stopping:
        return Verdict("Progressing", "True", "NodesStopping", f"no nodes any more, and to stop: {', '.join(stopping)}")
    return None


def step_by_step(outcome: Outcome) -> Verdict | None:
    """What goes from node to node without moving data, and what it waits for; None where nothing does."""
    if outcome.roll is not None and outcome.roll.outdated:
        left = ", ".join(outcome.roll.outdated)
        words = f"pods are restarted one at a time, to run as the spec asks now; left: {left}"
        return Verdict("Progressing", "True", "RollingOut", _sentence(words, "; ".join(outcome.roll.waits)))
    if outcome.rotation is not None and outcome.rotation.doing:
        words = _sentence(outcome.rotation.words, "; ".join(outcome.rotation.waits))
        return Verdict("Progressing", "True", "SecretRotates", words)
    if outcome.peering is not None and outcome.peering.doing:
        words = _sentence(outcome.peering.words, "; ".join(outcome.peering.waits))
        return Verdict("Progressing", "True", "PeersChange", words)
    return None


def movement(outcome: Outcome, nodes: Sequence[NodeState]) -> Verdict | None:
    """What is under way among the nodes of the map, and what it waits for; None where nothing is."""
    cloud_map, step = outcome.cloud_map, outcome.step
    if cloud_map is None or step is None:
        return None
    waits = "; ".join(step.waits)
    if cloud_map.change is not None:
        return Verdict("Progressing", "True", "Rebalancing", _sentence(_progress(outcome), waits))
    leaving = [node.name for node in nodes if node.state == "leaving"]
    if leaving:
        return Verdict("Progressing", "True", "Emptying", _sentence(f"{', '.join(leaving)} being emptied", waits))
    spares = [node for node in nodes if node.state == "spare"]
    if spares:
        words = "; ".join(f"{node.name}: {node.why or 'it is about to be taken in'}" for node in spares)
        return Verdict("Progressing", "True", "NodesStarting", _sentence(words, waits))
    return Verdict("Progressing", "True", "Waiting", waits) if waits else None


def _progress(outcome: Outcome) -> str:
    """How far the stage of a change is, by what the nodes say."""
    change = outcome.cloud_map.change if outcome.cloud_map is not None else None
    doing = "confirming" if change is not None and change.stage == "confirming" else "copying"
    passes = [answer.status.moving for answer in outcome.answers.values() if answer.status is not None]
    moving = [found for found in passes if found is not None]
    total = sum(found.total for found in moving)
    if not total:
        return f"{doing} what changes owners"
    done = min(total, sum(found.done for found in moving))
    moved = short(sum(found.bytes for found in moving))
    left = [found.seconds_left for found in moving if found.seconds_left is not None]
    until = f", {about(max(left))} left" if left else ""
    return f"{doing} what changes owners: {done} of about {total} keys, {moved}B moved{until}"


def _sentence(what: str, waits: str) -> str:
    return f"{what} ({waits})" if waits else what


def scale_down_blocked(outcome: Outcome) -> Verdict:
    """Whether nodes that shall leave can't, so that somebody has to do something."""
    refusal = outcome.step.refusal if outcome.step is not None else None
    if refusal is None:
        return FREE_TO_LEAVE
    return Verdict("ScaleDownBlocked", "True", refusal.reason, refusal.message)


def degraded(outcome: Outcome, nodes: Sequence[NodeState]) -> Verdict:
    """Whether something needs a person, even where requests are still served."""
    strangers = [f"{node.name}: {node.why}" for node in nodes if node.stranger]
    if outcome.error:
        return Verdict("Degraded", "True", "ApplyFailed", outcome.error)
    if strangers:
        return Verdict("Degraded", "True", "ForeignData", "; ".join(strangers))
    if outcome.observed.warnings:
        return Verdict("Degraded", "True", "SecretUnreadable", "; ".join(outcome.observed.warnings))
    if (found := _peers_plain(outcome) or _drain_refused(outcome)) is not None:
        return found
    said = {name: answer.status for name, answer in sorted(outcome.answers.items()) if answer.status is not None}
    return _damaged(said) or _almost_full(said) or Verdict("Degraded", "False", "AsExpected")


def _damaged(said: Mapping[str, NodeStatus]) -> Verdict | None:
    """Degraded is True where bytes are damaged that no owner has good."""
    text = damage_words({name: of.damage for name, of in said.items()})
    return Verdict("Degraded", "True", "Damaged", text) if text else None


def _almost_full(said: Mapping[str, NodeStatus]) -> Verdict | None:
    """Degraded is True where a volume is: the others may have room, and what belongs on that node has none."""
    used = {name: 100 * of.used_bytes / of.capacity_bytes for name, of in said.items() if of.capacity_bytes}
    full = [f"that of {name} is {percent:.0f} % full" for name, percent in used.items() if percent >= FULL_PERCENT]
    if not full:
        return None
    text = f"volumes are almost full ({', '.join(full)}): raise the volume.size of their nodes, or delete objects"
    return Verdict("Degraded", "True", "AlmostFull", text)


def _peers_plain(outcome: Outcome) -> Verdict | None:
    """Degraded is True where the spec asks for TLS, and the image that it names can't speak it on port 9001."""
    if outcome.observed.cloud.spec.tls is None or not is_too_old(outcome.observed):
        return None
    text = "port 9001 stays plain HTTP: spec.image is of a release that does not speak TLS there; name a newer one"
    return Verdict("Degraded", "True", "PeersPlain", text)


def _drain_refused(outcome: Outcome) -> Verdict | None:
    """Degraded is True where somebody wants to drain the machine of the only node that has the data."""
    if not outcome.observed.cordoned:
        return None
    what_to_do = advice(outcome.observed.cloud.metadata.name, only_node(outcome.cloud_map))
    return Verdict(
        "Degraded", "True", "DrainRefused", f"the machine {outcome.observed.cordoned} is cordoned; {what_to_do}"
    )


def dated(found: Iterable[Verdict], before: Sequence[Condition], generation: int, now: float) -> tuple[Condition, ...]:
    """The verdicts as conditions; one whose status did not change keeps its time."""
    times = {condition.type: condition for condition in before}
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return tuple(
        Condition(
            type=verdict.type,
            status=verdict.status,
            observed_generation=generation,
            last_transition_time=(
                old.last_transition_time
                if (old := times.get(verdict.type)) is not None and old.status == verdict.status
                else stamp
            ),
            reason=verdict.reason,
            message=verdict.message[:LONGEST],
        )
        for verdict in found
    )
