"""The work queue: nothing lost, nothing twice at a time."""

from __future__ import annotations

import asyncio

import pytest

from moln_operator.queue import LONGEST_PAUSE, WorkQueue

KEY = ("home", "photos")


async def test_many_asks_are_one_look() -> None:
    """A burst of events is one reconcile."""
    queue = WorkQueue()
    for _ in range(5):
        queue.add(KEY)
    assert await queue.get() == KEY
    queue.done(KEY)
    assert len(queue) == 0


async def test_an_ask_during_a_look_is_one_look_more() -> None:
    """What changes while a cloud is looked at is not lost, and never looked at in parallel."""
    queue = WorkQueue()
    queue.add(KEY)
    await queue.get()
    queue.add(KEY)
    queue.add(KEY)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.get()
    queue.done(KEY)
    assert await queue.get() == KEY


async def test_the_earlier_of_two_times_counts() -> None:
    """A timer far away does not hide a near one, and an ask now takes the timer's place."""
    queue = WorkQueue()
    queue.add_after(KEY, 3600)
    queue.add_after(KEY, 0.01)
    async with asyncio.timeout(5):
        assert await queue.get() == KEY
    queue.done(KEY)
    queue.add_after(KEY, 3600)
    queue.add(KEY)
    assert await queue.get() == KEY
    queue.done(KEY)
    queue.close()


async def test_pauses_grow_and_are_bounded() -> None:
    """A cloud that fails all the time is tried less and less often, but always again."""
    queue = WorkQueue()
    pauses = [queue.retry(KEY) for _ in range(40)]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert max(pauses) == LONGEST_PAUSE
    queue.succeeded(KEY)
    assert queue.retry(KEY) == 0.2
    queue.close()
