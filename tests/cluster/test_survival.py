"""What one owner acknowledged survives faults, and copies converge: short runs of `tests.cluster.survival`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cluster.survival import Write, check_last, survive

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.crash
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("nodes", "spares"), [(5, 0), (3, 2)])
async def test_what_one_owner_acknowledged_survives(tmp_path: Path, nodes: int, spares: int) -> None:
    """Under faults, also while nodes come and go; `make survive` is for other seeds, and for longer."""
    writes = await survive(tmp_path, 15.0, nodes, 11, spares=spares)
    assert sum(write.acknowledged for write in writes) > 50


def a_write(etag: str, begun: float, ended: float, *, acknowledged: bool = True) -> Write:
    """A write of one key."""
    return Write("plain", "k", etag, "", begun, ended, acknowledged)


@pytest.mark.parametrize(
    ("left", "writes", "fine"),
    [
        ("b", [a_write("a", 0, 1), a_write("b", 2, 3)], True),
        ("a", [a_write("a", 0, 1), a_write("b", 2, 3)], False),  # an acknowledged write is lost
        ("a", [a_write("a", 0, 4), a_write("b", 2, 3)], True),  # side by side: either may be last
        ("a", [a_write("a", 0, 1), a_write("b", 2, 3, acknowledged=False)], True),
        ("a", [a_write("a", 0, 1, acknowledged=False), a_write("b", 2, 3)], True),  # delivered later
        ("", [a_write("a", 0, 1), a_write("", 2, 3)], True),
        ("", [a_write("a", 2, 3), a_write("", 0, 1)], False),  # resurrected, the other way round
        ("", [], True),
        ("c", [a_write("a", 0, 1)], False),
    ],
)
def test_the_check_can_tell(left: str, writes: list[Write], *, fine: bool) -> None:
    """What is left must be the last write that was acknowledged, or one that may have come later."""
    if fine:
        check_last("k", left, writes)
    else:
        with pytest.raises(AssertionError):
            check_last("k", left, writes)
