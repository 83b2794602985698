"""What time it is, where the clocks of nodes differ."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from moln_node.cluster import clocks
from moln_node.cluster.errors import PeerError, UnavailableError
from moln_node.cluster.messages import Report, ReportAsk

NOON, YEARS = 1_800_000_000_000, 10 * 365 * 24 * 3600 * 1000


class Node:
    """A node that tells the time by its clock, or none."""

    def __init__(self, clock_ms: int | None) -> None:
        self._clock_ms = clock_ms

    async def report(self, _: ReportAsk) -> Report:
        """See `Replica.report`."""
        if self._clock_ms is None:
            raise PeerError("it is down")
        return Report(1, 0, clock_ms=self._clock_ms)


async def agreed(*told: int | None) -> int:
    """What nodes with these clocks agree on."""
    nodes = {f"n{number}": Node(clock_ms) for number, clock_ms in enumerate(told)}
    now = SimpleNamespace(participants=tuple(nodes), replica=nodes.__getitem__)
    return await clocks.agreed_ms(now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "told",
    [
        (NOON,),
        (NOON, NOON + YEARS),
        (NOON + YEARS, NOON, NOON - 1),
        (NOON, NOON + 1, 0),
        (1, NOON, NOON + 1),
        (NOON, None, NOON + YEARS),
        (NOON, NOON, NOON + YEARS, NOON + YEARS, 1),
    ],
)
async def test_one_wrong_clock_does_not_count(told: tuple[int | None, ...]) -> None:
    """One that is years ahead, one that has not heard the time yet, one that is not told."""
    assert await agreed(*told) == NOON


@pytest.mark.parametrize("told", [(None,), (NOON, None), (NOON, 0), (NOON, None, None)])
async def test_too_few_clocks_tell_no_time(told: tuple[int | None, ...]) -> None:
    """A majority has to tell it, and a release that does not is no part of it."""
    with pytest.raises(UnavailableError):
        await agreed(*told)
