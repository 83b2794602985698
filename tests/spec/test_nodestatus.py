"""What a node says of itself is read by releases before and after its own."""

from __future__ import annotations

from typing import Any

import pytest

from moln_spec.membership import Report
from moln_spec.nodestatus import Check, ClassUsage, Health, Moving, NodeStatus
from moln_spec.room import Volume

FIRST: dict[str, Any] = {
    "node": "n-0",
    "cloud": "photos",
    "uid": "u",
    "epoch": 7,
    "version": "0.1.0",
    "ready": True,
    "checks": [{"name": "store", "state": "ok", "message": ""}],
    "capacityBytes": 100,
    "usedBytes": 60,
    "freeBytes": 40,
    "objects": 1,
    "bytes": 5,
    "classes": {"STANDARD": {"objects": 1, "bytes": 5}},
    "uptimeSeconds": 1.5,
}
"""The answer of the first release."""


THIS = (
    '{"counts":true,"number":3,"passed":6,"moving":{"done":1,"total":2,"bytes":3,"secondsLeft":null},"noRoom":["n-1"],'
    '"damage":3,"strays":null,"registers":9,"hints":4,"owed":5,"deadLetters":6,"node":"n-0","cloud":"photos","uid":"u",'
    '"epoch":7,"version":"0.1.0","ready":true,"checks":[{"name":"store","state":"ok","message":""}],'
    '"capacityBytes":100,"usedBytes":60,"freeBytes":40,"objects":1,"bytes":5,"classes":{"STANDARD":{"objects":1,'
    '"bytes":5}},"uptimeSeconds":1.5,"secrets":["aa","bb"],"certificate":"cc","peerTls":"dd"}'
)
"""That of this one."""


def test_the_words_on_the_wire_stay() -> None:
    """Releases before and after this one read them."""
    assert NodeStatus.model_validate_json(THIS).model_dump_json() == THIS


def test_what_the_first_release_does_not_say_is_not_known() -> None:
    """It is taken neither for empty, nor for through with a change, nor for one that has or lacks a secret or TLS."""
    said = NodeStatus.model_validate(FIRST)
    assert (said.counts, said.passed, said.strays, said.registers, said.hints) == (True, None, None, 1, 0)
    assert (said.number, said.moving, said.no_room, said.damage) == (None, None, (), 0)
    assert (said.owed, said.dead_letters, said.certificate) == (0, 0, "")
    assert (said.secrets, said.peer_tls) == (None, None)


@pytest.mark.parametrize("missing", ["cloud", "checks", "freeBytes", "bytes", "classes"])
def test_a_reader_does_without(missing: str) -> None:
    """Nothing that the operator decides needs these."""
    said = NodeStatus.model_validate({name: value for name, value in FIRST.items() if name != missing})
    assert not said.model_dump()[missing]


def test_what_a_newer_release_says_too_is_ignored() -> None:
    """Wherever it stands; a state of a check that is not known is worth a look, and no failure."""
    new = {"new": 1}
    check = {"name": "disk", "state": "limping", **new}
    moving = {"done": 1, "total": 2, "bytes": 3, **new}
    classes = {"STANDARD": {"bytes": 5, **new}}
    text = FIRST | new | {"checks": [check], "moving": moving, "classes": classes}
    said = NodeStatus.model_validate(text)
    assert said.checks == Health.model_validate({"ok": True, "checks": [check], **new}).checks
    assert said.checks == (Check(name="disk", state="warn"),)
    assert said.moving == Moving(done=1, total=2, bytes=3, seconds_left=None)
    assert said.classes == {"STANDARD": ClassUsage(objects=0, bytes=5)}


def test_mypy_demands_of_a_node_what_a_reader_does_without() -> None:
    """Were it not so, mypy would find that there is nothing to ignore in the second line."""
    whole = Moving(done=1, total=2, bytes=3, seconds_left=None)
    assert Moving(done=1, total=2, bytes=3) == whole  # type: ignore[call-arg]


def test_a_report_has_all_that_membership_depends_on() -> None:
    """Of the node's own volume, unless its nodes share one."""
    said = NodeStatus.model_validate(FIRST | {"passed": 6, "strays": 2, "registers": 9, "noRoom": ["n-1"], "damage": 3})
    whole = Report(7, 6, 2, 9, Volume(100, 60, 40), {"STANDARD": 5}, ("n-1",), 3)
    assert Report.of(said) == whole
    assert Report.of(said, Volume(100, 5, 40)).volume == Volume(100, 5, 40)
