"""The epoch at which an owner answers, and when it is said to be obeyed."""

from __future__ import annotations

import pytest

from moln_node.cluster.errors import LateEpochError, StaleEpochError
from moln_node.cluster.gate import Gate


def test_only_calls_of_the_same_epoch_are_let_in() -> None:
    """Whoever is behind learns it, and whoever is ahead learns that this node is behind; nothing is done for either."""
    gate = Gate(5)
    with pytest.raises(StaleEpochError) as stale:
        gate.enter(4)
    with pytest.raises(LateEpochError) as late:
        gate.enter(6)
    assert (stale.value.epoch, stale.value.sent, late.value.epoch, late.value.sent) == (5, False, 5, False)


def test_an_epoch_is_obeyed_when_all_that_was_begun_before_it_is_over() -> None:
    """Also what was begun two epochs ago."""
    gate = Gate(5)
    first, second = gate.enter(5), gate.enter(5)
    gate.epoch = 6
    third = gate.enter(6)
    gate.epoch = 7
    assert gate.obeyed == 5
    first()
    assert gate.obeyed == 5
    second()
    assert gate.obeyed == 6
    third()
    assert gate.obeyed == 7
