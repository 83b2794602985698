"""The work in the background goes on, whatever happens to it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from moln_node.cluster import tending


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "_FIRST_REST_SECONDS", 0.001)


async def test_a_job_that_fails_is_told_and_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    """By what no handler of its own expects; the log has it whole."""
    begun = 0

    async def job() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise OSError(28, "No space left on device")

    with caplog.at_level(logging.ERROR):
        await tending.tend("passes", job)
    assert begun == 3
    assert [record.message for record in caplog.records] == ["passes failed: it begins anew in 0 s"] * 2
    assert "No space left" in caplog.text


async def test_a_job_can_be_cancelled() -> None:
    """While it works, and while it rests."""

    async def works() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise ValueError

    for job in (works, fails):
        task = asyncio.create_task(tending.tend("job", job))
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
