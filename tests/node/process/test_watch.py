"""The watch: what health knows of disk and store, on a clock that the test holds."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from moln_node.peer.metrics import Metrics
from moln_node.peer.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path


async def _answers() -> None:
    """A store that answers."""


async def test_a_store_that_fails_is_told_and_forgotten_when_it_answers(tmp_path: Path) -> None:
    """An error is what `/ready` shows, until the store answers again."""
    broken = True

    async def read() -> None:
        if broken:
            raise RuntimeError("no index")

    watch = Watch(tmp_path, read, Metrics("0"))
    await watch.probe()
    assert str(watch.store_error) == "no index"
    broken = False
    await watch.probe()
    assert watch.store_error is None


async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The disk's own error is kept."""
    watch = Watch(tmp_path / "gone", _answers, Metrics("0"))
    await watch.probe()
    assert watch.write_error is not None
    assert watch.write_error.errno == errno.ENOENT


async def test_a_hung_store_is_silent_longer_and_longer(tmp_path: Path) -> None:
    """A store that never answers does not hold up health: it is seen by how long it has been silent."""
    now = 100.0

    async def hang() -> None:
        await asyncio.Event().wait()

    watch = Watch(tmp_path, hang, Metrics("0"), clock=lambda: now)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch.probe(), 0.05)
    now = 131.0
    assert watch.silent_seconds == 31.0


async def test_an_error_is_an_answer(tmp_path: Path) -> None:
    """A store that says no is alive: starting the node again would not help it."""
    now = 100.0

    async def fail() -> None:
        raise RuntimeError

    watch = Watch(tmp_path, fail, Metrics("0"), clock=lambda: now)
    now = 200.0
    await watch.probe()
    assert watch.silent_seconds == 0.0
