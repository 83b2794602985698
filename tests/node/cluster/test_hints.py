"""Hints: each gets its turn, new ones at once; an owner that is away neither keeps others waiting nor costs much."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.node.store.harness import with_bucket

from moln_node.cluster import hints
from moln_node.cluster.hints import Hints
from moln_node.cluster.silence import Silence
from moln_node.store.registers import Register, Space

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import pytest

_MANY = 1000
_SECONDS = 10


class Owners:
    """What carries hints out: of registers whose key begins with a letter of `away` it can't.

    Attributes:
        tried: the keys of all that was tried, in order.
        pause: awaited while a hint is carried out.
    """

    def __init__(self, away: str) -> None:
        self.away = away
        self.tried: list[str] = []
        self.pause = asyncio.Event()
        self.pause.set()

    async def repair(self, register: Register, _: Silence) -> bool:
        """Whether every owner has it now."""
        self.tried.append(register.key)
        await self.pause.wait()
        return register.key[0] not in self.away


def named(key: str) -> Register:
    """A register."""
    return Register(Space.OBJECTS, key, "bucket", b"x" * 12)


@asynccontextmanager
async def working(data: Path, owners: Owners) -> AsyncIterator[Hints]:
    """Hints of a node, being carried out."""
    async with with_bucket(data) as node:
        kept = Hints(node.store, owners.repair)
        task = asyncio.create_task(kept.run())
        try:
            yield kept
        finally:
            task.cancel()
            await asyncio.wait([task])


async def until(so: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(_SECONDS):
        while not so():  # noqa: ASYNC110 (other tasks)
            await asyncio.sleep(0.005)


async def test_those_of_one_owner_that_is_away_keep_no_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand that can't be carried out come first, by their names: the others are done all the same, and soon."""
    monkeypatch.setattr(hints, "_RETRY_SECONDS", 0.2)
    monkeypatch.setattr(hints, "_MOST_FRESH", 0)  # nothing is new: all of it is on the disk, in the order of its names
    owners = Owners(away="a")
    async with working(tmp_path, owners) as kept:
        for number in range(_MANY):
            kept.add(named(f"a{number:04}"))
        for number in range(10):
            kept.add(named(f"z{number:04}"))
        await until(lambda: sum(key.startswith("z") for key in owners.tried) == 10)
        await asyncio.sleep(0.05)
        assert await kept.count() == _MANY


async def test_an_owner_that_comes_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when all that was tried for long was in vain."""
    monkeypatch.setattr(hints, "_RETRY_SECONDS", 0.01)
    owners = Owners(away="az")
    async with working(tmp_path, owners) as kept:
        for number in range(_MANY):
            kept.add(named(f"a{number:04}"))
        kept.add(named("z"))
        await until(lambda: owners.tried.count("z") > 3)
        owners.away = "a"
        tried = len(owners.tried)
        await until(lambda: "z" in owners.tried[tried:])
        owners.away = ""
        async with asyncio.timeout(_SECONDS):
            while await kept.count():  # noqa: ASYNC110 (other tasks)
                await asyncio.sleep(0.01)


async def test_what_is_in_vain_is_not_tried_on_and_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once; from then on a page from time to time. A new one is tried at once all the same."""
    monkeypatch.setattr(hints, "_RETRY_SECONDS", 1000.0)
    owners = Owners(away="a")
    async with working(tmp_path, owners) as kept:
        for number in range(_MANY):
            kept.add(named(f"a{number:04}"))
        await until(lambda: len(owners.tried) >= _MANY)
        await asyncio.sleep(0.3)
        tried = len(owners.tried)
        assert set(owners.tried) == {f"a{number:04}" for number in range(_MANY)}
        assert tried <= 2 * _MANY  # as new ones, and once in turn
        kept.add(named("m"))
        await until(lambda: "m" in owners.tried)
        await asyncio.sleep(0.05)
        assert owners.tried[tried:] == ["m"]
        assert await kept.count() == _MANY


async def test_what_is_missed_again_while_it_is_carried_out_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owners may have been looked at before."""
    monkeypatch.setattr(hints, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(hints, "_MOST_FRESH", 0)  # so it is found where it is kept alone
    owners = Owners(away="")
    async with working(tmp_path, owners) as kept:
        owners.pause.clear()
        kept.add(named("k"))
        await until(lambda: owners.tried == ["k"])
        kept.add(named("k"))
        await asyncio.sleep(0.2)  # it is on the disk by then
        owners.pause.set()
        await until(lambda: owners.tried == ["k", "k"])


def test_who_is_silent_is_asked_ever_more_seldom() -> None:
    """By one at a time; and as before once it has answered."""
    now = 0.0
    silence = Silence(lambda: now)
    assert silence.spare(("a", "b")) == ("a", "b")
    silence.heard(("a", "b"), {"b"})
    asked = []
    for _ in range(1000):
        now += 0.1
        names = silence.spare(("a", "b"))
        assert "b" in names
        if "a" in names:
            asked.append(now)
            assert silence.spare(("a", "b")) == ("b",)
            silence.heard(names, {"b"})
    rests = [round(later - sooner) for sooner, later in pairwise(asked)]
    assert rests[:5] == [2, 4, 8, 8, 8]
    now += 8
    silence.heard(silence.spare(("a", "b")), {"a", "b"})
    assert silence.ended == 1
    assert silence.spare(("a", "b")) == ("a", "b")
