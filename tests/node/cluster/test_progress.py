"""How long a pass still takes: by its pace, and only once there is one."""

from __future__ import annotations

import pytest

from moln_node.cluster.passes import Progress


@pytest.mark.parametrize(
    ("progress", "left"),
    [
        (Progress(held=100), None),
        (Progress(held=100, walked=10), None),
        (Progress(held=100, began=1000), None),
        (Progress(held=100, walked=10, began=1006), None),
        (Progress(held=100, walked=10, began=1000), 90),
        (Progress(held=100, walked=50, began=1000), 10),
        (Progress(held=100, walked=120, began=1000), 0),
    ],
)
def test_what_is_left_is_told_by_the_pace_of_the_walk(progress: Progress, left: float | None) -> None:
    """At second 1010; nothing is said before a walk went on for five seconds, or after it."""
    assert progress.seconds_left(1010) == left
