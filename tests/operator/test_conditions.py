"""What a Cloud's status says, case by case. It must never say more than was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.operator.given import NOW, a_cloud, a_map, a_map_of, a_pod, an_answer, an_outcome, observed

from moln_operator.observe.nodes import Answer
from moln_operator.plan.rolling import Roll
from moln_operator.report.status import cloud_status, policy_status
from moln_spec.classes import AssignmentRule, StorageClass
from moln_spec.nodestatus import Check
from moln_spec.resources.policy import ReplicationPolicy

if TYPE_CHECKING:
    from moln_operator.report.outcome import Outcome
    from moln_spec.cloudmap import NodeState

DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
SILENT = {"photos-0": Answer(error="no answer in time")}


def condition(outcome: Outcome, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition."""
    (found,) = [c for c in cloud_status(outcome).conditions if c.type == kind]
    assert found.observed_generation == 3
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("outcome", "status", "reason", "part"),
    [
        (an_outcome(), "True", "AllNodesReady", "1 of 1 nodes serve; with one node there is one copy of each object"),
        (an_outcome(observed(pods={}, answers={})), "False", "NodesStarting", "photos-0: its pod does not exist yet"),
        (
            an_outcome(observed(pods={}, answers={}, missing={"photos-0": NOW - 181})),
            "False",
            "NodesNotReady",
            "photos-0: Kubernetes does not make its pod; kubectl describe statefulset photos says why",
        ),
        (an_outcome(observed(answers=SILENT)), "False", "NodesNotReady", "the operator gets no answer: no answer in"),
        (
            an_outcome(observed(pods={"photos-0": a_pod(ready=False, started=False)}, answers=SILENT)),
            "False",
            "NodesStarting",
            "its pod is starting",
        ),
        (
            an_outcome(observed(pods={"photos-0": a_pod(ready=False)}, answers=SILENT)),
            "False",
            "NodesNotReady",
            "not ready (is the machine machine-1 up?)",
        ),
        (
            an_outcome(observed(pods={"photos-0": a_pod(ready=False)})),
            "False",
            "NodesStarting",
            "Kubernetes has not seen it ready yet",
        ),
        (
            an_outcome(observed(pods={"photos-0": a_pod(metadata=DELETED)})),
            "False",
            "NodesStarting",
            "its pod is stopping",
        ),
        (
            an_outcome(
                observed(
                    pods={
                        "photos-0": a_pod(
                            ready=False,
                            waiting={"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"},
                            last_state={"terminated": {"message": "cannot start: the disk is another cloud's\n"}},
                        )
                    }
                )
            ),
            "False",
            "NodesNotReady",
            "CrashLoopBackOff (cannot start: the disk is another cloud's)",
        ),
        (
            an_outcome(
                observed(
                    pods={
                        "photos-0": a_pod(
                            conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes fit"}]
                        )
                    }
                )
            ),
            "False",
            "NodesNotReady",
            "can't be scheduled: 0/3 nodes fit",
        ),
        (
            an_outcome(
                observed(
                    answers={
                        "photos-0": an_answer(
                            ready=False, checks=(Check(name="writable", state="fail", message="read-only"),)
                        )
                    }
                )
            ),
            "False",
            "NodesNotReady",
            "not ready by its own word (writable: read-only)",
        ),
        (an_outcome(cloud_map=a_map(epoch=2)), "False", "MapNotAcknowledged", "epoch 2 of the map has not reached"),
        (an_outcome(observed(answers={"photos-0": an_answer(uid="x")})), "False", "NodesNotReady", "another cloud"),
        (an_outcome(error="403 no"), "False", "ApplyFailed", "403 no"),
        (an_outcome(problems=("no such pool",)), "False", "NotAccepted", "no such pool; nodes go on by the last"),
        (an_outcome(observed(a_cloud(DELETED)), waiting="waiting for photos-0"), "False", "Deleting", "photos-0"),
    ],
)
def test_ready_says_what_was_checked(outcome: Outcome, status: str, reason: str, part: str) -> None:
    """Ready is True only when every node answered, is ready and has the newest map."""
    found = condition(outcome, "Ready")
    assert found[:2] == (status, reason)
    assert part in found[2]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (an_outcome(), "False", "AsExpected"),
        (an_outcome(error="403 no"), "True", "ApplyFailed"),
        (an_outcome(observed(warnings=("Secret camera does not exist",))), "True", "SecretUnreadable"),
        (an_outcome(observed(answers={"photos-0": an_answer(used=95)})), "True", "AlmostFull"),
        (
            an_outcome(observed(answers={"photos-0": an_answer(used=9), "photos-1": an_answer(used=90)})),
            "True",
            "AlmostFull",
        ),
        (an_outcome(observed(answers={"photos-0": an_answer(used=89)})), "False", "AsExpected"),
        (an_outcome(observed(answers={"photos-0": an_answer(damage=1, used=95)})), "True", "Damaged"),
        (an_outcome(observed(answers={"photos-0": an_answer(uid="x")})), "True", "ForeignData"),
        (an_outcome(observed(cordoned="machine-1")), "True", "DrainRefused"),
    ],
)
def test_degraded_calls_a_person(outcome: Outcome, status: str, reason: str) -> None:
    """Degraded is True for what does not go away by waiting."""
    assert condition(outcome, "Degraded")[:2] == (status, reason)


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (an_outcome(), "False", "Settled"),
        (an_outcome(observed(a_cloud(paused=True))), "False", "Stopped"),
        (
            an_outcome(roll=Roll(outdated=("photos-0",))),
            "True",
            "RollingOut",
        ),
        (an_outcome(observed(pods={}, answers={})), "True", "NodesStarting"),
        (an_outcome(observed(pods={name: a_pod(name) for name in ("photos-0", "photos-1")})), "True", "NodesStopping"),
    ],
)
def test_progressing_says_whether_waiting_helps(outcome: Outcome, status: str, reason: str) -> None:
    """Progressing is True only while something moves by itself."""
    assert condition(outcome, "Progressing")[:2] == (status, reason)


def test_paused_shows() -> None:
    """A paused cloud says so, and how to go on."""
    assert condition(an_outcome(observed(a_cloud(paused=True))), "Paused")[0] == "True"
    assert "Paused" not in {c.type for c in cloud_status(an_outcome()).conditions}


def test_a_status_that_says_the_same_is_the_same() -> None:
    """Later, with nothing changed, the status is equal: there is nothing to write."""
    first = cloud_status(an_outcome())
    cloud = a_cloud().model_copy(update={"status": first})
    later = observed(cloud, now=NOW + 3600)
    assert cloud_status(an_outcome(later)) == first


def test_a_condition_that_turns_is_dated() -> None:
    """LastTransitionTime moves with the status and not with the message."""
    cloud = a_cloud().model_copy(update={"status": cloud_status(an_outcome())})
    times = {
        c.type: c.last_transition_time
        for c in cloud_status(an_outcome(observed(cloud, now=NOW + 60), error="no")).conditions
    }
    assert times["Accepted"] == "2027-01-15T08:00:00Z"
    assert times["Ready"] == "2027-01-15T08:01:00Z"


def test_usage_stays_while_a_node_is_silent() -> None:
    """A node that does not answer must not make the cloud look empty."""
    cloud = a_cloud().model_copy(update={"status": cloud_status(an_outcome())})
    found = cloud_status(an_outcome(observed(cloud, answers=SILENT))).usage
    assert (found.objects, found.used, found.capacity) == (7, "10", "100")


@pytest.mark.parametrize(
    ("nodes", "reason", "words"),
    [
        (0, "PoolsAreEmpty", "in hdd, tape there are no nodes yet"),
        (2, "FewerNodesThanCopies", "3 copies are asked for, in hdd, tape there are 2 nodes"),
        (3, "Valid", "has 3 copies"),
    ],
)
def test_a_policy_counts_the_nodes_of_its_pools(nodes: int, reason: str, words: str) -> None:
    """Nodes elsewhere hold none of its copies."""
    spec: dict[str, Any] = {"cloudRef": {"name": "photos"}, "pools": ["hdd", "tape"]}
    policy = ReplicationPolicy.model_validate({"metadata": {"name": "p"}, "spec": spec})
    (found,) = policy_status(policy, a_cloud(), nodes, (), NOW).conditions
    assert found.reason == reason
    assert words in found.message


def test_a_class_whose_pools_have_no_member_yet_is_told() -> None:
    """Its bytes may be anywhere until then: Accepted says it, of a class and of a rule that pins."""
    pinned = AssignmentRule(pool="slow")
    archive = StorageClass(name="ARCHIVE", pools=("slow", "tape"))
    states: dict[str, NodeState] = {"photos-0": "active", "slow-0": "spare"}
    early = a_map_of(states, storage_classes=(archive,), assignment_rules=(pinned,))
    status, reason, message = condition(an_outcome(cloud_map=early), "Accepted")
    assert (status, reason) == ("True", "PoolsAreEmpty")
    assert "storage class ARCHIVE: in slow, tape there are no nodes yet; until then any node may hold" in message
    assert "an assignment rule: in slow there are no nodes yet" in message
    taken = a_map_of(states | {"slow-0": "joining"}, storage_classes=(archive,), assignment_rules=(pinned,))
    assert condition(an_outcome(cloud_map=taken), "Accepted")[1] == "Valid"


@pytest.mark.parametrize(
    ("copies", "nodes", "reason"), [(3, 1, "FewerNodesThanCopies"), (1, 1, "Valid"), (3, 3, "Valid")]
)
def test_a_policy_tells_how_many_copies_there_are(copies: int, nodes: int, reason: str) -> None:
    """More copies than nodes are as many as there are nodes, and the policy says so."""
    given: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"cloudRef": {"name": "photos"}, "copies": copies}}
    policy = ReplicationPolicy.model_validate(given)
    (found,) = policy_status(policy, a_cloud(), nodes, (), NOW).conditions
    assert (found.status, found.reason) == ("True", reason)
    (missing,) = policy_status(policy, None, 0, (), NOW).conditions
    assert (missing.status, missing.reason) == ("False", "NoSuchCloud")


@pytest.mark.parametrize(
    ("nodes", "uncounted", "status"),
    [(1, 1, "False"), (2, 1, "False"), (3, 1, "True"), (3, 2, "False"), (5, 1, "True"), (5, 2, "False")],
)
def test_a_cloud_is_ready_once_every_key_has_a_majority(nodes: int, uncounted: int, status: str) -> None:
    """A node that has yet to hear of the others, or to fill its disk, votes for nothing: writes would be refused."""
    pods = {name: a_pod(name) for name in (f"photos-{number}" for number in range(nodes))}
    answers = {name: an_answer(node=name, counts=number >= uncounted) for number, name in enumerate(pods)}
    cloud = a_cloud(nodes={"replicas": nodes, "volume": {"size": "1Gi"}})
    found = condition(an_outcome(observed(cloud, pods=pods, answers=answers)), "Ready")
    assert found[0] == status
    if status == "False":
        assert found[1] == "NodesStarting"
        assert f"photos-{uncounted - 1}: not an owner yet" in found[2]
