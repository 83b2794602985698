"""One node of a cloud, put together: coordinator, owner, and the work in the background.

Made by the process over `LocalStore`. `objects` is what the wire calls; `add_routes` is what
port 9001 answers to other nodes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from moln_node.cluster.ballots import BallotClock
from moln_node.cluster.buckets import Buckets
from moln_node.cluster.cloud import CloudObjects
from moln_node.cluster.graves import Graves
from moln_node.cluster.hints import Hints
from moln_node.cluster.joining import Joining
from moln_node.cluster.members import Members
from moln_node.cluster.owed import Owed
from moln_node.cluster.passes import Passes
from moln_node.cluster.registers import Registers
from moln_node.cluster.repair import Repair
from moln_node.cluster.restoring import Restoring
from moln_node.cluster.routes import add_routes
from moln_node.cluster.scrubbing import DAYS, Scrubbing
from moln_node.cluster.shedding import Shedding
from moln_node.cluster.sweep import Sweep
from moln_node.cluster.tending import tend
from moln_node.cluster.unnamed import Unnamed

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from moln_node.cluster.local import LocalStore
    from moln_node.peertls import PeerTls
    from moln_spec.cloudmap import CloudMap


class Cluster:
    """This node in its cloud, be it the only one. Made by `start`, ended by `close`.

    Attributes:
        objects: the whole cloud's objects.
        members: who is in the cloud.
        scrubbing: the reading back of its disk.
    """

    def __init__(self, local: LocalStore, members: Members, clock: BallotClock, scrub_days: float = DAYS) -> None:
        self.members = members
        self._local = local
        self.registers = Registers(members, clock)
        members.registers = self.registers
        self.repair = members.repair = Repair(members, self.registers)
        members.own.damaged = self.repair.damaged
        self.restoring = Restoring(self.repair)
        members.own.unreadable = self.restoring.notice
        members.hints = Hints(local.store, lambda register, silence: self.repair.run(register, silence=silence))
        members.owed = Owed(
            local.store,
            self.registers.deliver,
            members.hints.wake,
            counts=lambda: members.own.voting,
            owns=lambda register: members.me in members.now.electorate(register).owners,
        )
        members.own.owing = members.owed.wake
        self.objects = CloudObjects(local, members, self.registers, Buckets(members, self.registers, local.store))
        self.shedding = Shedding(members, self.repair)
        self.joining = Joining(members, self.repair, self.shedding, clock, local.store)
        self.passes = Passes(members, self.repair, self.joining.introduce)
        self.sweep = Sweep(members, local.store, self.objects.abort_upload)
        self.graves = Graves(members)
        self.unnamed = Unnamed(members, self.registers)
        self.scrubbing = Scrubbing(local.store, self.repair, scrub_days)
        local.store.unnamed = self.unnamed.notice
        members.own.strays = self.strays
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        local: LocalStore,
        cloud_map: CloudMap,
        me: str,
        secret: Callable[[], str],
        tls: PeerTls | None = None,
        scrub_days: float = DAYS,
    ) -> Self:
        """Become a node of the cloud.

        Args:
            local: this node's own store.
            cloud_map: the map that it obeys.
            me: its name there.
            secret: gives the cloud secret, as it is now.
            tls: what it shows to other nodes and whom it trusts; None where port 9001 is plain HTTP.
            scrub_days: in about how many days it reads back all of its disk; 0: never by itself.
        """
        members = Members(local, cloud_map, me, secret, tls)
        cluster = cls(local, members, await BallotClock.start(local.store, members.now.number), scrub_days)
        await cluster.joining.begin()
        await cluster.scrubbing.begin()
        work = {
            "hints": members.hints.run,
            "owed": members.owed.run,
            "sweep": cluster.sweep.run,
            "graves": cluster.graves.run,
            "unnamed": cluster.unnamed.run,
            "passes": cluster.passes.run,
            "shedding": cluster.shedding.run,
            "joining": cluster.joining.run,
            "restoring": cluster.restoring.run,
            "staging": members.own.tidy,
            "scrub": cluster.scrubbing.run,
        }
        cluster._tasks = [asyncio.create_task(tend(name, job), name=f"moln-{name}") for name, job in work.items()]
        return cluster

    @property
    def counts(self) -> bool:
        """Whether this node counts as an owner: not before its disk holds what it should."""
        return self.members.own.voting

    @property
    def damage(self) -> int:
        """How many things are damaged on this node's disk that could not be made whole when that was tried last."""
        return self.repair.damage + self.restoring.lost + (self._local.store.index_damage is not None)

    async def strays(self) -> int | None:
        """Registers held here and owned by others, with what is owed of such; None while unknown."""
        strays = self.joining.left or self.shedding.strays
        return None if strays is None else strays + await self.members.owed.elsewhere()

    async def joined(self, seconds: float) -> None:
        """Wait until it does, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.joining.counting.wait()

    async def close(self) -> None:
        """Finish what was begun; the store stays open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.registers.close()
        await self.members.own.close()
        await self.members.session.close()

    async def adopt(self, cloud_map: CloudMap) -> None:
        """Obey a newer map."""
        if self.members.own.alone:  # deletions that leave no trace are over before another node can ask for the rest
            self.members.own.alone = False
            await self._local.store.commit(lambda _: None)
        self._local.adopt(cloud_map)
        self.members.adopt(cloud_map)
        self.joining.adopted()
        self.shedding.adopted()

    def add_routes(self, app: web.Application) -> None:
        """Answer other nodes on this application."""
        add_routes(app, self.members.own)
