"""Conditions in a versioned bucket: versions stay beside each other, and yet one write only finds none there."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from tests.cluster.test_repair import three

from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.messages import Ask
from moln_node.cluster.peers import RemoteReplica
from moln_node.store.errors import PreconditionFailedError
from moln_node.store.model import Attributes, Precondition, Sealed, Versioning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_node.store.registers import Register

ABSENT = Precondition(if_none_match="*")


class Links:
    """Calls between nodes that can be held back: by who calls, whom, and what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clusters: list[Cluster]) -> None:
        self._sessions = {cluster.members.session: cluster.members.me for cluster in clusters}
        self._open: defaultdict[tuple[str, str, str], asyncio.Event] = defaultdict(_open)
        for kind in ("prepare", "accept"):
            monkeypatch.setattr(RemoteReplica, kind, self._holding(kind, getattr(RemoteReplica, kind)))

    def hold(self, caller: Cluster, called: Cluster, kind: str) -> None:
        """Let such calls wait."""
        self._open[caller.members.me, called.members.me, kind].clear()

    def pass_on(self, caller: Cluster, called: Cluster, kind: str) -> None:
        """Let them go on."""
        self._open[caller.members.me, called.members.me, kind].set()

    def _holding(
        self, kind: str, really: Callable[..., Coroutine[object, object, object]]
    ) -> Callable[..., Coroutine[object, object, object]]:
        async def call(replica: RemoteReplica, message: object) -> object:
            await self._open[self._sessions[replica._session], replica._name, kind].wait()
            return await really(replica, message)

        return call


def _open() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def put_if_absent(cluster: Cluster, key: str) -> str:
    """Put an object where there is none, through a node; its version."""
    data = cluster.members.me.encode()

    async def body() -> AsyncIterator[bytes]:
        yield data

    async def seal() -> Sealed:
        return Sealed(hashlib.md5(data, usedforsecurity=False).hexdigest())

    put = cluster.objects.put("room", key, Attributes("me"), body(), size=len(data), seal=seal, precondition=ABSENT)
    return (await put).version_id


async def until_it_holds(cluster: Cluster, register: Register) -> None:
    """Wait until a node has accepted something."""
    async with asyncio.timeout(10):
        while not (await cluster.members.own.state(Ask(register))).rows:  # noqa: ASYNC110 (a store: nothing to wait on)
            await asyncio.sleep(0.01)


async def rivals(monkeypatch: pytest.MonkeyPatch, clusters: list[Cluster]) -> Links:
    """A versioned bucket: what the first node has accepted reaches no other one, and the last does not ask it."""
    one, middle, other = clusters
    await one.objects.set_bucket("room", versioning=Versioning.ENABLED)
    links = Links(monkeypatch, clusters)
    for late in (middle, other):
        links.hold(one, late, "accept")
    links.hold(other, one, "prepare")
    return links


async def test_who_was_overtaken_has_not_won(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is on one node when another one, which has not seen it, is decided by the two others."""
    async with three(tmp_path) as (clusters, where):
        one, middle, other = clusters
        register = structs.replace(where, key="lock")
        links = await rivals(monkeypatch, clusters)
        overtaken = asyncio.create_task(put_if_absent(one, "lock"))
        await until_it_holds(one, register)
        won = await put_if_absent(other, "lock")
        for late in (middle, other):
            links.pass_on(one, late, "accept")
        links.pass_on(other, one, "prepare")
        with pytest.raises(UnavailableError, match="not certain which was first"):
            await overtaken
        with pytest.raises(PreconditionFailedError):
            await put_if_absent(one, "lock")
        assert (await middle.objects.head("room", "lock")).version_id == won


async def test_who_is_decided_by_a_later_look_wins_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One looks again, and is decided, before what the other one had begun is on more than its own node."""
    async with three(tmp_path) as (clusters, where):
        one, middle, other = clusters
        register = structs.replace(where, key="lock")
        links = await rivals(monkeypatch, clusters)
        for late in (one, middle):
            links.hold(other, late, "accept")
        first = asyncio.create_task(put_if_absent(one, "lock"))
        await until_it_holds(one, register)
        second = asyncio.create_task(put_if_absent(other, "lock"))
        await until_it_holds(other, register)
        links.hold(one, other, "prepare")
        for late in (middle, other):
            links.pass_on(one, late, "accept")
        won = await first
        for late in (middle, one):
            links.pass_on(other, late, "accept")
        links.pass_on(other, one, "prepare")
        links.pass_on(one, other, "prepare")
        with pytest.raises(UnavailableError, match="not certain which was first"):
            await second
        assert won in {record.version_id for record in (await middle.objects.list_versions("room")).records}


async def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    """Through all nodes, key after key: one is acknowledged at most, and what was is there."""
    async with three(tmp_path) as (clusters, _):
        await clusters[0].objects.set_bucket("room", versioning=Versioning.ENABLED)
        for number in range(60):
            tries = [put_if_absent(cluster, f"lock-{number}") for cluster in clusters]
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            won = [outcome for outcome in outcomes if isinstance(outcome, str)]
            refused = [one for one in outcomes if isinstance(one, PreconditionFailedError | UnavailableError)]
            assert (len(won) <= 1, len(won) + len(refused)) == (True, 3), outcomes
