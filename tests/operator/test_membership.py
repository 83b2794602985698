"""The operator's part in changing who belongs to a cloud: seats, reports, StatefulSets, conditions, events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from tests.operator.given import (
    NOW,
    SETTINGS,
    a_cloud,
    a_map,
    a_map_of,
    a_pod,
    a_pool,
    a_stateful_set,
    an_answer,
    an_outcome,
    observed,
)

from moln_operator.apply.push import Pusher
from moln_operator.observe.nodes import Answer, Door
from moln_operator.plan.children import children, superfluous
from moln_operator.plan.cloudmap import PLACED_SECONDS, START_SECONDS, may_begin, next_step, reports, seats
from moln_operator.plan.credentials import credentials
from moln_operator.plan.pools import replicas
from moln_operator.report.nodes import node_states
from moln_operator.report.status import cloud_status, storage_node_status
from moln_operator.report.steps import told
from moln_spec.cloudmap import Change, CloudMap
from moln_spec.credentials import Credentials
from moln_spec.membership import Refusal, Step
from moln_spec.nodestatus import Moving

if TYPE_CHECKING:
    from moln_operator.kube.inventory import Known
    from moln_operator.observe.state import Observed
    from moln_spec.resources.storagenode import StorageNode

THREE = a_map_of({"photos-0": "active", "photos-1": "active", "photos-2": "active"})
FIVE = a_cloud(nodes={"replicas": 5})
LEAVING = a_map_of({"photos-0": "active", "photos-1": "leaving", "photos-2": "leaving"})


def a_deleted_pool(name: str) -> StorageNode:
    """A StorageNode that the user has deleted."""
    pool = a_pool(name)
    return pool.model_copy(update={"metadata": pool.metadata.model_copy(update={"deletion_timestamp": "2027-01-01"})})


def pods(*names: str, **more: Any) -> dict[str, Known]:
    """Pods by name."""
    return {name: a_pod(name, **more) for name in names}


def answers(*names: str, **more: Any) -> dict[str, Answer]:
    """What these nodes say."""
    return {name: an_answer(node=name, **more) for name in names}


def test_a_stateful_set_grows_at_once_and_shrinks_as_the_map_lets_nodes_go() -> None:
    """Up to what is wanted; down no further than to the last node that the map names."""
    up = observed(FIVE, previous_map=THREE)
    assert replicas(up, "photos", THREE) == 5
    down = observed(previous_map=LEAVING)
    assert replicas(down, "photos", LEAVING) == 3
    assert replicas(down, "photos", a_map()) == 1
    unknown = observed(previous_map=None, stateful_sets={"photos": a_stateful_set(replicas=3)})
    assert replicas(unknown, "photos", None) == 3, "who may go is not known without a map"


def test_a_deleted_pool_is_wanted_no_more_and_stays_until_it_is_emptied() -> None:
    """No seats, but its pods as long as the map names them; then its StatefulSet goes, and no other."""
    drained = a_map_of({"photos-0": "active", "old-0": "leaving", "old-1": "leaving"})
    sets = {"photos": a_stateful_set(), "old": a_stateful_set(replicas=2)}
    state = observed(
        storage_nodes=(a_deleted_pool("old"),),
        previous_map=drained,
        stateful_sets=sets,
        children=frozenset({("StatefulSet", "photos"), ("StatefulSet", "old")}),
    )
    assert [seat.name for seat in seats(state)] == ["photos-0"]
    assert replicas(state, "old", drained) == 2
    planned = children(state, drained, credentials(state), ("s3cret",), SETTINGS)
    assert superfluous(state, planned, drained) == ()
    after = replace(state, previous_map=a_map())
    planned = children(after, a_map(), credentials(after), ("s3cret",), SETTINGS)
    assert superfluous(after, planned, a_map()) == (("StatefulSet", "old"),)
    assert superfluous(after, planned, None) == ()


def test_only_answers_of_this_cloud_are_reports() -> None:
    """A node with another cloud's data, one that is silent and one that is another say nothing here."""
    state = observed(
        answers={
            "photos-0": an_answer(strays=4, passed=3, registers=9, classes={"ARCHIVE": {"objects": 2, "bytes": 70}}),
            "photos-1": an_answer(node="photos-1", uid="x"),
            "photos-2": Answer(error="silent"),
            "photos-3": an_answer(node="photos-0"),
        }
    )
    found = reports(state)
    assert list(found) == ["photos-0"]
    report = found["photos-0"]
    assert (report.epoch, report.strays, report.passed, report.registers) == (1, 4, 3, 9)
    assert report.classes == {"ARCHIVE": 70}


def test_a_spare_is_heard_once_kubernetes_finds_it_ready() -> None:
    """Else the cloud would be unready while it is taken in."""
    state = observed(previous_map=a_map_of({"photos-0": "active", "photos-1": "spare"}), answers=answers("photos-1"))
    assert reports(replace(state, pods=pods("photos-1", ready=False))) == {}
    assert list(reports(replace(state, pods=pods("photos-1")))) == ["photos-1"]


def test_what_an_older_release_does_not_say_is_not_taken_for_nothing() -> None:
    """Neither that it holds nothing of others, nor that its disk is empty."""
    report = reports(observed())["photos-0"]
    assert (report.strays, report.passed) == (None, None)
    assert report.registers > 0


@pytest.mark.parametrize(
    ("pod", "age", "awaited"),
    [
        (None, START_SECONDS - 1, True),
        (None, START_SECONDS + 1, False),
        (a_pod("photos-1"), START_SECONDS - 1, True),
        (a_pod("photos-1"), START_SECONDS + 1, False),
        (a_pod("photos-1", conditions=[{"type": "PodScheduled", "status": "False"}]), 0.0, False),
    ],
)
def test_others_wait_only_for_a_pod_that_may_come_up_soon(pod: Known | None, age: float, awaited: bool) -> None:
    """A pod that is old or has no machine, or that Kubernetes does not make, is taken in when it comes."""
    found = {}
    if pod is not None:
        found = {"photos-1": replace(pod, content={**pod.content, "created": NOW - age})}
    missing = {} if pod is not None else {"photos-1": NOW - age}
    state = observed(a_cloud(nodes={"replicas": 2}), pods=found, missing=missing)
    assert seats(state)[1].awaited is awaited


def test_a_first_map_waits_until_zones_are_known_but_not_for_ever() -> None:
    """Of several nodes; of one there is no choice to make."""
    three = a_cloud(nodes={"replicas": 3})
    first: dict[str, Any] = {"previous_map": None, "map_version": ""}
    assert may_begin(observed(pods={}, **first))
    young = {"photos": a_stateful_set()}
    young["photos"].content["created"] = NOW - PLACED_SECONDS + 1
    assert not may_begin(observed(three, pods=pods("photos-0", "photos-1"), stateful_sets=young, **first))
    assert not may_begin(observed(three, pods={}, **first))
    assert may_begin(observed(three, pods=pods("photos-0", "photos-1", "photos-2"), stateful_sets=young, **first))
    old = {"photos": a_stateful_set()}
    old["photos"].content["created"] = NOW - PLACED_SECONDS - 1
    assert may_begin(observed(three, pods={}, stateful_sets=old, **first))
    assert may_begin(observed(three, pods={}, previous_map=THREE))


def test_a_scale_up_names_spares_and_a_scale_down_asks_the_nodes() -> None:
    """From the spec to the map, through the observed state."""
    said = answers("photos-0", "photos-1", "photos-2", strays=0)
    up = next_step(observed(FIVE, previous_map=THREE, answers=said)).map
    assert [node.state for node in up.nodes] == ["active", "active", "active", "spare", "spare"]
    refused = next_step(observed(a_cloud(nodes={"replicas": 2}), previous_map=THREE, answers=said))
    assert refused.map.layout == THREE.layout
    assert refused.refusal is not None
    assert refused.refusal.reason == "TooFewNodes"


def outcome_of(cloud_map: CloudMap, step: Step | None = None, **more: Any) -> Any:
    """A cloud of three pods by this map."""
    names = [node.name for node in cloud_map.nodes]
    state: Observed = observed(
        more.pop("cloud", a_cloud(nodes={"replicas": 3})),
        previous_map=cloud_map,
        pods=pods(*names),
        answers=answers(*names, **more.pop("said", {})),
        **more,
    )
    return an_outcome(state, cloud_map=cloud_map, step=step or Step(cloud_map))


def verdict(outcome: Any, kind: str) -> tuple[str, str, str]:
    """One condition."""
    (found,) = [condition for condition in cloud_status(outcome).conditions if condition.type == kind]
    return found.status, found.reason, found.message


def test_progress_is_told_while_a_change_is_under_way() -> None:
    """How far the nodes' passes are, and what is waited for; the cloud is Ready all the while."""
    changing = THREE.model_copy(update={"change": Change(before=a_map().layout, since=1)})
    moving = {"moving": Moving(done=10, total=40, bytes=2048, seconds_left=None)}
    outcome = outcome_of(changing, Step(changing, ("copying: photos-1",)), said=moving)
    status, reason, message = verdict(outcome, "Progressing")
    assert (status, reason) == ("True", "Rebalancing")
    assert message == "copying what changes owners: 30 of about 120 keys, 6KiB moved (copying: photos-1)"
    assert verdict(outcome, "Ready")[0] == "True"
    moving["moving"] = moving["moving"].model_copy(update={"seconds_left": 41.0})
    outcome = outcome_of(changing, Step(changing), said=moving)
    assert verdict(outcome, "Progressing")[2].endswith("6KiB moved, about 50 s left")


def test_a_spare_does_not_make_a_cloud_unready() -> None:
    """Clients don't depend on it yet; the progress says why it is not taken in, the count that it is missing."""
    cloud_map = a_map_of({"photos-0": "active", "photos-1": "spare"})
    outcome = outcome_of(cloud_map, cloud=a_cloud(nodes={"replicas": 2}))
    state = replace(outcome.observed, pods={"photos-0": a_pod()}, answers=answers("photos-0"))
    outcome = replace(outcome, observed=state, answers=state.answers)
    assert verdict(outcome, "Ready")[0] == "True"
    assert verdict(outcome, "Progressing") == ("True", "NodesStarting", "photos-1: its pod does not exist yet")
    assert cloud_status(outcome).nodes.summary == "1/2"
    assert [node.serves for node in node_states(outcome)] == [True, False]


def test_leaving_nodes_are_told_and_counted_as_long_as_they_are_there() -> None:
    """They serve what they still hold."""
    outcome = outcome_of(LEAVING, Step(LEAVING, ("photos-2 holds 4 keys that others own",)), cloud=a_cloud())
    status, reason, message = verdict(outcome, "Progressing")
    assert (status, reason) == ("True", "Emptying")
    assert message == "photos-1, photos-2 being emptied (photos-2 holds 4 keys that others own)"
    found = cloud_status(outcome).nodes
    assert (found.desired, found.current) == (1, 3)


def test_a_scale_down_that_can_not_be_says_why() -> None:
    """On the Cloud, and on the pool that it concerns."""
    step = Step(THREE, (), Refusal("NoRoom", "photos-2 can't leave"))
    pool = a_pool("photos")
    outcome = outcome_of(THREE, step, cloud=a_cloud(nodes={"replicas": 2}), storage_nodes=(pool, a_pool("other")))
    assert verdict(outcome, "ScaleDownBlocked") == ("True", "NoRoom", "photos-2 can't leave")
    blocked = {
        name: {c.type: c.status for c in storage_node_status(outcome, a_pool(name)).conditions}["ScaleDownBlocked"]
        for name in ("photos", "other")
    }
    assert blocked == {"photos": "True", "other": "False"}
    assert verdict(outcome_of(THREE), "ScaleDownBlocked")[:2] == ("False", "AsExpected")


def test_a_deleted_pool_says_what_it_waits_for() -> None:
    """Its deletion is held, so it has to."""
    drained = a_map_of({"photos-0": "active", "old-0": "leaving"})
    pool = a_deleted_pool("old")
    outcome = outcome_of(drained, Step(drained, ("copying: old-0",)), cloud=a_cloud(), storage_nodes=(pool,))
    (ready,) = [c for c in storage_node_status(outcome, pool).conditions if c.type == "Ready"]
    assert (ready.status, ready.reason) == ("False", "Emptying")
    assert ready.message == "what its nodes hold is being moved to the other pools; copying: old-0"


CHANGE = Change(before=THREE.layout, since=2)
CONFIRMING = Change(before=THREE.layout, stage="confirming", since=3)
TURNED = Change(before=THREE.layout, since=3)


ONE = a_map_of({"photos-0": "active"})
ONE_AND_A_SPARE = a_map_of({"photos-0": "active", "photos-1": "spare"})
GIVEN_UP: dict[str, Any] = {"nodes": THREE.nodes[:2], "given_up": ("photos-2",), "change": CHANGE}


def after(cloud_map: CloudMap, **update: Any) -> CloudMap:
    """A map, an epoch later."""
    return cloud_map.model_copy(update={"epoch": cloud_map.epoch + 1, **update})


@pytest.mark.parametrize(
    ("before", "following", "expected"),
    [
        (None, THREE, []),
        (ONE, after(ONE_AND_A_SPARE), ["NodesComing"]),
        (THREE, after(LEAVING, change=CHANGE), ["ChangeBegun"]),
        (after(LEAVING, change=CHANGE), after(THREE, change=TURNED), ["ChangeTurned"]),
        (after(LEAVING, change=CHANGE), after(LEAVING, change=CONFIRMING), ["ChangeConfirming"]),
        (after(LEAVING, change=CONFIRMING), after(LEAVING), ["ChangeOver"]),
        (LEAVING, after(LEAVING, nodes=LEAVING.nodes[:2]), ["NodeGone"]),
        (ONE_AND_A_SPARE, after(ONE), ["NodeNotWanted"]),
        (THREE, after(THREE, **GIVEN_UP), ["NodeGivenUp", "ChangeBegun"]),
    ],
)
def test_each_decision_is_told(before: CloudMap | None, following: CloudMap, expected: list[str]) -> None:
    """One event for each thing that happened, besides the epoch's own."""
    assert [reason for reason, _ in told(before, following)] == ["MapPublished", *expected]


class Recording:
    """Nodes that note what they are handed, and go on saying what they said."""

    def __init__(self, said: dict[str, Answer]) -> None:
        self._said = said
        self.handed: list[str] = []

    async def push_map(self, door: Door, _map: CloudMap) -> None:
        """Note whom."""
        self.handed.append(door.host)

    async def push_credentials(self, _door: Door, _document: str) -> None:
        """Take them."""

    async def status(self, door: Door) -> Answer:
        """As before."""
        return self._said[door.host]


async def test_only_nodes_of_the_map_are_handed_it() -> None:
    """Those that have left stop, and would refuse a map that does not name them."""
    names = ("photos-0", "photos-1")
    said = answers(*names)
    hosts = {name: replace(pod, content={**pod.content, "ip": name}) for name, pod in pods(*names).items()}
    nodes = Recording(said)
    found = await Pusher(cast("Any", nodes)).push(
        observed(pods=hosts, answers=said), a_map(2), Credentials(keys=(), master_keys=())
    )
    assert nodes.handed == ["photos-0"]
    assert set(found) == set(names)
