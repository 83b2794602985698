"""How the cloud secret changes while nodes speak with each other by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given as given_by
from hypothesis import strategies as st
from tests.operator.given import NOW, a_map_of, a_pod, an_answer, observed

from moln_operator.observe.state import ClusterSecret, Observed
from moln_operator.plan.rotation import ACCEPT, DROP, SEND, Behind, Rotation, refreshes, rotation, who_is_behind
from moln_spec.cloudsecret import fingerprint, is_usable

if TYPE_CHECKING:
    from moln_operator.observe.nodes import Answer

OLD = Behind(old=("photos-1 has yet to read it",))
SILENT = Behind(silent=("photos-2 does not answer",))
ALL = Behind()


@pytest.mark.parametrize(
    ("given", "wanted", "behind", "expected"),
    [
        ((), "a", ALL, Rotation(("a",))),
        (("a",), "a", ALL, Rotation(("a",))),
        (("a",), "a", SILENT, Rotation(("a",))),
        (("a",), "a", OLD, Rotation(("a",), DROP, OLD.old)),
        (("a",), "b", ALL, Rotation(("a", "b"), ACCEPT)),
        (("a",), "b", OLD, Rotation(("a", "b"), ACCEPT)),
        (("a", "b"), "b", OLD, Rotation(("a", "b"), ACCEPT, OLD.old)),
        (("a", "b"), "b", SILENT, Rotation(("a", "b"), ACCEPT, SILENT.silent)),
        (("a", "b"), "b", ALL, Rotation(("b", "a"), SEND)),
        (("b", "a"), "b", SILENT, Rotation(("b", "a"), SEND, SILENT.silent)),
        (("b", "a"), "b", ALL, Rotation(("b",), DROP)),
        (("b", "a"), "a", ALL, Rotation(("a", "b"), SEND)),
        (("a", "b"), "c", OLD, Rotation(("a", "b"), ACCEPT, OLD.old)),
        (("a", "b"), "c", ALL, Rotation(("a", "c"), ACCEPT)),
    ],
    ids=[
        "the first ever",
        "settled",
        "settled, whoever is away",
        "dropping",
        "an edit",
        "an edit before all have dropped the one of before",
        "not all accept both",
        "one is away",
        "all accept both",
        "not all send the new one",
        "all send the new one",
        "an edit back",
        "an edit on, not all accept both",
        "an edit on",
    ],
)
def test_the_table(given: tuple[str, ...], wanted: str, behind: Behind, expected: Rotation) -> None:
    """Three steps, each taken only when every node is where the last one led."""
    assert rotation(ClusterSecret(wanted, "u1", given), behind) == expected


@given_by(st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 2)), max_size=60))
def test_nobody_is_ever_refused(events: list[str | int]) -> None:
    """Whatever is edited when, and whenever each node reads: all nodes and the operator take each other's calls."""
    wanted = "a"
    given: tuple[str, ...] = ("a",)
    nodes = [given, given, given]
    for event in events:
        if isinstance(event, str):
            wanted = event
        else:
            nodes[event] = given
        waits = Behind(old=tuple(str(number) for number, has in enumerate(nodes) if has != given))
        given = rotation(ClusterSecret(wanted, "u1", given), waits).given
        for sends, accepts in product((*nodes, given), nodes):
            assert sends[0] in accepts, (nodes, given)


@given_by(st.sampled_from([("a",), ("a", "b"), ("b", "a"), ("c", "a")]), st.sampled_from("abc"))
def test_it_ends(given: tuple[str, ...], wanted: str) -> None:
    """From anywhere, when all read what they are given, the wanted one alone is in force after some steps."""
    for _ in range(5):
        given = rotation(ClusterSecret(wanted, "u1", given), ALL).given
    assert given == (wanted,)


def three(*answers: Answer, given: tuple[str, ...] = ("old", "new")) -> Observed:
    """A cloud of three nodes that say this, the first ones."""
    names = ("photos-0", "photos-1", "photos-2")
    return observed(
        cluster=ClusterSecret("new", "u1", given),
        pods={name: a_pod(name) for name in names},
        answers=dict(zip(names, answers, strict=False)),
        previous_map=a_map_of(dict.fromkeys((*names, "photos-3"), "active")),
    )


HAS_IT = an_answer(secrets=(fingerprint("old"), fingerprint("new")))
HAS_OLD = an_answer(secrets=(fingerprint("old"),))
OTHER_ORDER = an_answer(secrets=(fingerprint("new"), fingerprint("old")))


def test_who_is_waited_for() -> None:
    """Everybody in the map or with a pod, until it says that it has just these secrets in this order."""
    state = three(HAS_IT, HAS_OLD, an_answer())
    found = who_is_behind(state, state.previous_map)
    assert found.old == ("photos-1 has yet to read it",)
    assert found.silent == (
        "photos-2 runs a release that does not say which secrets it accepts",
        "photos-3 does not answer",
    )
    assert who_is_behind(three(HAS_IT, OTHER_ORDER, HAS_IT), None).old == ("photos-1 has yet to read it",)
    assert who_is_behind(three(HAS_IT, HAS_IT, HAS_IT), None) == ALL


def test_kubernetes_is_asked_for_old_files_alone_and_not_all_the_time() -> None:
    """The mark of a pod says what was asked for when; later, and for something else, it is asked again."""
    state = three(HAS_IT, HAS_OLD, an_answer())
    ((name, mark),) = refreshes(state).items()
    assert name == "photos-1"
    pod = a_pod("photos-1", metadata={"annotations": {"moln.dev/refreshed": mark}})
    asked = replace(state, pods={**state.pods, "photos-1": pod})
    assert not refreshes(replace(asked, now=NOW + 5))
    assert refreshes(replace(asked, now=NOW + 20)).keys() == {"photos-1"}
    assert refreshes(replace(asked, now=NOW + 5, cluster=ClusterSecret("new", "u1", ("new", "old")))).keys() == {
        "photos-0",
        "photos-1",
    }


def test_a_renewed_certificate_is_asked_for() -> None:
    """Only of nodes that serve with another one, and only where there is one to be had."""
    serving = an_answer(secrets=HAS_IT.status.secrets if HAS_IT.status else None, certificate="before")
    assert refreshes(replace(three(serving, HAS_IT, HAS_IT), certificate="after")).keys() == {"photos-0"}
    assert not refreshes(replace(three(serving), certificate="before"))
    assert not refreshes(three(serving))


@pytest.mark.parametrize("secret", ["", "short", "with a space in it", "ümläute-and-more-1", "line\nbreak-and-more-1"])
def test_a_secret_that_no_header_takes_is_refused(secret: str) -> None:
    """It would shut every node out."""
    assert not is_usable(secret)
    assert is_usable("a-secret-of-16-characters")
