"""How many owners a read asks: as few as decide, and others only where these fail or are late."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from moln_node.cluster import few
from moln_node.cluster.electorate import Electorate, Owning
from moln_node.cluster.errors import PeerError
from moln_node.cluster.few import Few, Promptness

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from moln_node.cluster.fan import Failure


def of(names: str) -> Owning:
    """A list of owners with one letter each."""
    return Owning.among((name, False) for name in names)


class Owners:
    """Answer with their name, but for those that fail or are silent."""

    def __init__(self, *, failing: str = "", silent: str = "") -> None:
        self.asked = ""
        self._failing = failing
        self._silent = silent

    async def call(self, name: str) -> str:
        """Ask one."""
        self.asked += name
        if name in self._failing:
            raise PeerError("away")
        if name in self._silent:
            await asyncio.sleep(3600)
        return name


async def decide(
    electorate: Electorate, call: Callable[[str], Coroutine[Any, Any, str]], promptness: Promptness
) -> dict[str, str | Failure]:
    """What a reader hears until enough have answered, or nobody is left to ask."""
    asking = Few(electorate, call, promptness)
    deadline = asyncio.get_running_loop().time() + 30
    heard: dict[str, str | Failure] = {}
    try:
        while not electorate.settled({name for name, answer in heard.items() if answer == name}):
            found = await asking.next(deadline)
            if found is None:
                break
            heard[found[0]] = found[1]
    finally:
        asking.cancel()
    return heard


@pytest.mark.parametrize(("names", "asked"), [("a", 1), ("ab", 2), ("abc", 2), ("abcde", 3)])
async def test_no_more_are_asked_than_decide(names: str, asked: int) -> None:
    """This node first, and of the others as many as make a majority with it."""
    owners = Owners()
    await decide(Electorate.of(of(names)), owners.call, Promptness("a"))
    assert owners.asked[0] == "a"
    assert len(owners.asked) == asked


async def test_the_others_are_asked_in_turn() -> None:
    """No owner answers for all reads of a node."""
    owners, promptness = Owners(), Promptness("a")
    for _ in range(64):
        await decide(Electorate.of(of("abc")), owners.call, promptness)
    assert set(owners.asked) == set("abc")


async def test_both_lists_are_asked_while_owners_are_confirmed() -> None:
    """An answer then needs a majority of each."""
    electorate = Electorate.of(of("abc"), of("cde"), confirming=True)
    heard = await decide(electorate, Owners().call, Promptness("x"))
    assert electorate.settled(heard.keys())


async def test_another_takes_the_place_of_one_that_fails() -> None:
    """At once, and whoever failed is asked last for a while."""
    owners, promptness = Owners(failing="b"), Promptness("a")
    for _ in range(64):
        heard = await decide(Electorate.of(of("abc")), owners.call, promptness)
        assert {name for name, answer in heard.items() if answer == name} == {"a", "c"}
    assert owners.asked.count("b") == 1


async def test_another_is_asked_beside_one_that_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment, and later reads pass over it from their beginning."""
    monkeypatch.setattr(few, "_LEAST_PATIENCE", 0.01)
    owners, promptness = Owners(silent="b"), Promptness("a")
    for _ in range(16):
        heard = await decide(Electorate.of(of("abc")), owners.call, promptness)
        assert heard == {"a": "a", "c": "c"}
    assert owners.asked.count("b") == 1


async def test_where_too_few_are_left_the_reader_hears_of_it() -> None:
    """Everybody was asked, and the call ends."""
    owners = Owners(failing="bc")
    heard = await decide(Electorate.of(of("abc")), owners.call, Promptness("a"))
    assert sorted(heard) == sorted(owners.asked) == ["a", "b", "c"]


async def test_a_late_one_is_waited_for_where_nobody_else_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer still counts."""
    monkeypatch.setattr(few, "_LEAST_PATIENCE", 0.01)

    async def slow(name: str) -> str:
        await asyncio.sleep(0 if name == "a" else 0.1)
        return name

    heard = await decide(Electorate.of(of("ab")), slow, Promptness("a"))
    assert heard == {"a": "a", "b": "b"}


def test_patience_follows_what_answers_take() -> None:
    """A busy cloud is not asked for more, and a node that never answers does not make it wait for ever."""
    promptness = Promptness("a")
    assert promptness.patience == few._LEAST_PATIENCE
    for _ in range(100):
        promptness.answered("b", 0.1)
        promptness.answered("a", 0.0)
    assert 0.35 < promptness.patience < 0.45
    for _ in range(1000):
        promptness.answered("b", 60.0)
    assert promptness.patience == few._MOST_PATIENCE
