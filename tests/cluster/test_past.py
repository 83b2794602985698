"""What an owner remembers of a slot, so that a write whose answers were lost does not take effect a second time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.cluster.test_quorum import THREE
from tests.cluster.test_repair import put, three

from moln_node.cluster.ballots import SKEW_VARIABLE
from moln_node.cluster.errors import PeerError
from moln_node.cluster.quorum import Verdict, judge
from moln_node.cluster.registers import Registers
from moln_node.store.model import Versioning
from moln_node.store.registers import NEVER, NULL_SLOT, Register, Row, tombstone
from moln_node.store.steps import replica as steps
from moln_node.store.steps.replica import FORGOTTEN, Outcome, Vote, Write
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.messages import Accept
    from moln_node.cluster.replica import Replica

NOON = 1_900_000_000_000
HOUR = 3_600_000
_OWNERS = 3


def at(milliseconds: int, node: int = 0) -> bytes:
    """A ballot or version of that moment, after noon."""
    return Version(NOON + milliseconds << 16, node).to_bytes()


def row(version: bytes, ballot: bytes | None = None) -> Row:
    """A row without bytes."""
    return tombstone(version, ballot or version, null=True, now_ms=0)


class Owner:
    """One node's register, asked to accept one row after the other."""

    def __init__(self, cluster: Cluster, register: Register) -> None:
        self._store = cluster.members.own.store
        self._register = register

    async def accept(self, row: Row) -> Vote:
        """Its vote."""
        return await self._store.commit(
            lambda tx: steps.accept(tx, self._register, row.ballot, [Write(row)], NEVER),
        )


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[Owner]:
    """A register that nothing was written to."""
    async with three(tmp_path) as (clusters, where):
        yield Owner(clusters[0], Register(where.space, "k", where.bucket, where.incarnation))


@pytest.mark.parametrize(
    ("later", "held"),
    [
        (500, at(0)),
        (60_500, at(0)),  # half a second later, by a node whose clock is a minute ahead
        (120_500, at(0)),  # the first one's is a minute behind besides
        (HOUR, FORGOTTEN),  # clocks that are wrong beyond all bounds
    ],
)
async def test_what_was_replaced_is_not_taken_for_never_held(owner: Owner, later: int, held: bytes) -> None:
    """Whatever the clocks of who wrote it and who replaced it show: it did come about, and must not again."""
    assert (await owner.accept(row(at(0)))).outcome == Outcome.DONE
    assert (await owner.accept(row(at(later)))).outcome == Outcome.DONE
    vote = await owner.accept(row(at(0)))
    assert (vote.outcome, vote.held) == (Outcome.OLD, held)
    verdict = judge(dict.fromkeys("abc", vote), 0, THREE, at(0), [NULL_SLOT])
    assert verdict is (Verdict.UNSURE if held == FORGOTTEN else Verdict.DONE)


async def test_what_never_was_there_is_told_from_what_is_forgotten(owner: Owner) -> None:
    """A write of a clock that is behind is refused, and can try again at once, unless it is far behind."""
    for moment in (0, HOUR, 2 * HOUR):
        await owner.accept(row(at(moment)))
    assert (await owner.accept(row(at(2 * HOUR - 60_000)))).held == NEVER
    assert (await owner.accept(row(at(HOUR + 1)))).held == NEVER
    assert (await owner.accept(row(at(HOUR)))).held == FORGOTTEN
    assert (await owner.accept(row(at(1)))).held == FORGOTTEN


async def test_the_last_sixteen_are_remembered(owner: Owner) -> None:
    """However fast they came; of what was before it is not known any more whether it was."""
    for moment in range(40):
        await owner.accept(row(at(moment)))
    found = [(await owner.accept(row(at(moment)))).held for moment in range(39)]
    assert found == [FORGOTTEN] * 23 + [at(moment) for moment in range(23, 39)]


async def test_a_change_is_remembered_by_its_ballot(owner: Owner) -> None:
    """Of the same version, decided anew since: a change that never came is not taken for one that did."""
    await owner.accept(row(at(0)))
    await owner.accept(row(at(0), at(10)))
    await owner.accept(row(at(0), at(30)))
    assert (await owner.accept(row(at(0), at(10)))).held == at(10)
    assert (await owner.accept(row(at(0), at(20)))).held == NEVER
    assert (await owner.accept(row(at(0)))).held == at(30)


class Lost:
    """The answers of all owners to the next accept of a key are lost; meanwhile something else is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: str, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._really = Registers._accept
        self._meanwhile = meanwhile
        self._asked = self._done = 0
        self._over = asyncio.Event()
        lost = self

        async def accept(registers: Registers, owner: Replica, message: Accept) -> Vote:
            if message.register.key != key or lost._asked == _OWNERS:
                return await lost._really(registers, owner, message)
            return await lost._lose(registers, owner, message)

        monkeypatch.setattr(Registers, "_accept", accept)

    async def _lose(self, registers: Registers, owner: Replica, message: Accept) -> Vote:
        self._asked += 1
        assert (await self._really(registers, owner, message)).outcome == Outcome.DONE
        self._done += 1
        if self._done < _OWNERS:
            await self._over.wait()
        else:
            await self._meanwhile()
            self._over.set()
        raise PeerError("the answer is lost")


async def test_a_put_whose_answers_are_lost_does_not_come_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All owners had it; it was replaced at once through a node whose clock is a minute ahead: that is what stays."""
    async with three(tmp_path) as (clusters, _):

        async def replace() -> None:
            monkeypatch.setenv(SKEW_VARIABLE, "61000")
            await put(clusters[1], "k", b"newer")
            monkeypatch.delenv(SKEW_VARIABLE)

        Lost(monkeypatch, "k", replace)
        await put(clusters[0], "k", b"old")
        assert (await clusters[2].objects.head("room", "k")).size == len(b"newer")


@pytest.mark.parametrize("versioning", [Versioning.OFF, Versioning.ENABLED])
async def test_a_change_of_tags_whose_answers_are_lost_does_not_come_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versioning: Versioning
) -> None:
    """The tags that were set after it stay, also those of a version that is not the newest."""
    async with three(tmp_path) as (clusters, _):
        await clusters[0].objects.set_bucket("room", versioning=versioning)
        version = (await put(clusters[0], "k", b"tagged")).version_id
        if versioning is Versioning.ENABLED:
            await put(clusters[0], "k", b"newer")

        async def tag(cluster: Cluster, turn: str) -> None:
            await cluster.objects.set_attributes("room", "k", version, tags={"turn": turn})

        Lost(monkeypatch, "k", lambda: tag(clusters[1], "2"))
        await tag(clusters[0], "1")
        assert (await clusters[2].objects.head("room", "k", version)).attributes.tags == {"turn": "2"}


@pytest.mark.parametrize("versioning", [Versioning.OFF, Versioning.ENABLED])
async def test_a_change_that_one_owner_took_and_others_overtook_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versioning: Versioning
) -> None:
    """That owner remembers it; a majority never had it, and says so: nobody has to be told that it is uncertain."""
    async with three(tmp_path) as (clusters, _):
        await clusters[0].objects.set_bucket("room", versioning=versioning)
        version = (await put(clusters[0], "k", b"tagged")).version_id
        really = Registers._accept
        asked = 0

        async def accept(registers: Registers, owner: Replica, message: Accept) -> Vote:
            nonlocal asked
            asked += message.register.key == "k"
            if message.register.key == "k" and asked == 1:
                return await really(registers, owner, message)
            if asked == 2:
                await asyncio.sleep(0.1)  # the first owner has it by now
                await clusters[1].objects.set_attributes("room", "k", version, tags={"turn": "2"})
            elif asked == _OWNERS:
                await asyncio.sleep(0.5)  # the others have something else by now
            return await really(registers, owner, message)

        monkeypatch.setattr(Registers, "_accept", accept)
        await clusters[0].objects.set_attributes("room", "k", version, tags={"turn": "1"})
        assert (await clusters[2].objects.head("room", "k", version)).attributes.tags == {"turn": "1"}
