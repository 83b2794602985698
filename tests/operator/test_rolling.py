"""Which pod is restarted next: one at a time, the next only when every copy is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.operator.given import a_cloud, a_map_of, a_pod, a_stateful_set, an_answer, observed

from moln_operator.observe.nodes import Answer
from moln_operator.plan.rolling import Roll, roll
from moln_operator.plan.statefulset import rolls_by_itself

if TYPE_CHECKING:
    from moln_operator.kube.inventory import Known
    from moln_operator.observe.state import Observed

NAMES = ("photos-0", "photos-1", "photos-2")
MAP = a_map_of(dict.fromkeys(NAMES, "active"))


def a_pod_of(name: str, revision: str, **more: Any) -> Known:
    """A pod that was made from this revision of the template."""
    pod = a_pod(name, **more)
    return replace(pod, content={**pod.content, "revision": revision})


def a_set(generation: int = 4, observed_generation: int = 4) -> Known:
    """A StatefulSet whose newest revision is `new`."""
    known = a_stateful_set(updateRevision="new", observedGeneration=observed_generation)
    known.content["generation"] = generation
    return known


def rolling(revisions: dict[str, str], answers: dict[str, Answer] | None = None, **more: Any) -> Observed:
    """Three nodes of these revisions, all of them well but for what `answers` and `more` say."""
    pods = {name: a_pod_of(name, revision) for name, revision in revisions.items()} | more.pop("pods", {})
    said = {name: an_answer(node=name) for name in pods} | (answers or {})
    sets = more.pop("stateful_sets", {"photos": a_set()})
    return observed(a_cloud(nodes={"replicas": 3}), pods=pods, answers=said, stateful_sets=sets, **more)


def next_pod(state: Observed) -> str:
    """The pod that is restarted now; empty where none is."""
    found = roll(state, MAP).restart
    return found.name if found is not None else ""


OLD = dict.fromkeys(NAMES, "old")
HALF = {**OLD, "photos-2": "new"}


def test_the_highest_is_first_and_nothing_is_to_do_where_all_are_new() -> None:
    """In the order of StatefulSets."""
    assert next_pod(rolling(OLD)) == "photos-2"
    assert next_pod(rolling(HALF)) == "photos-1"
    assert roll(rolling(dict.fromkeys(NAMES, "new")), MAP) == Roll()


def test_a_template_that_kubernetes_has_not_looked_at_yet_is_waited_for() -> None:
    """Until then it is not known which revision is the newest."""
    assert roll(rolling(OLD, stateful_sets={"photos": a_set(5, 4)}), MAP) == Roll()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (an_answer(node="photos-2", hints=3), "photos-2 knows of 3 copies that are still to be made"),
        (an_answer(node="photos-2", counts=False), "photos-2 is being refilled"),
        (an_answer(node="photos-2", ready=False), "photos-2 is not ready"),
        (an_answer(node="photos-2", epoch=0), "photos-2 has yet to take the newest map"),
        (Answer(error="silent"), "photos-2 is not ready"),
    ],
)
def test_the_next_one_waits_until_the_last_one_is_whole_again(answer: Answer, words: str) -> None:
    """A new release that does not run stops at the first node."""
    found = roll(rolling(HALF, {"photos-2": answer}), MAP)
    assert (found.restart, found.waits) == (None, (words,))
    assert found.outdated == ("photos-1", "photos-0")


def test_a_pod_that_stops_is_waited_for() -> None:
    """Also one that somebody else has stopped, and one that is not made yet."""
    stopping = a_pod_of("photos-0", "old", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert next_pod(rolling(OLD, pods={"photos-0": stopping})) == ""
    missing = rolling({"photos-1": "old", "photos-2": "new"})
    assert roll(missing, MAP).waits == ("photos-0 is being restarted",)


def test_one_that_does_not_run_is_first() -> None:
    """On the way back from a bad image: it serves nobody, and others must not go before it."""
    broken = a_pod_of("photos-0", "bad", ready=False)
    state = rolling(OLD, {"photos-0": Answer(error="silent")}, pods={"photos-0": broken})
    assert next_pod(state) == "photos-0"
    answering = rolling(OLD, pods={"photos-0": broken})
    assert next_pod(answering) == "", "its node may still have a voice"


def test_a_spare_needs_no_turn() -> None:
    """It owns nothing yet, so nobody depends on it; it may be what was started with the bad image."""
    cloud_map = a_map_of({"photos-0": "active", "photos-1": "active", "photos-2": "spare"})
    found = roll(rolling(OLD, {"photos-0": an_answer(hints=1)}), cloud_map)
    assert found.restart is not None
    assert found.restart.name == "photos-2"


def test_a_stateful_set_of_an_older_release_is_told_to_wait() -> None:
    """Kubernetes would restart its pods by its own rules."""
    known = a_stateful_set()
    assert not rolls_by_itself(known)
    known.content["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    assert rolls_by_itself(known)
