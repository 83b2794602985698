"""Plays the operator for a cloud of processes: makes each next map by `next_step`, and gives it to the nodes."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
from pydantic import ValidationError
from tests.cluster.nodes import SECRET

from moln_spec.cloudmap import BodyPlace, MapPolicy
from moln_spec.membership import Report, Seat, Wanted, next_step
from moln_spec.nodestatus import NodeStatus
from moln_spec.room import Volume

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from tests.cluster.nodes import Cloud, Node

    from moln_spec.cloudmap import CloudMap
    from moln_spec.membership import Step

_TURN_SECONDS = 0.25
_CALL_SECONDS = 2.0
_FEWEST = 3
_SOME = 0.5
_MOST = 0.8
_ODD_ROUNDS = ("r1", "r3", "r5", "r7", "r9")


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks, and wait until each is over."""
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Director:
    """Leads a cloud to the nodes that are wanted.

    Attributes:
        map: the last map that was made.
        step: what the last look came to.
        changes: how many changes of layout were finished.
    """

    def __init__(self, cloud: Cloud, tell: Callable[[str], None] = lambda _: None) -> None:
        self._cloud = cloud
        self._tell = tell
        self._http: aiohttp.ClientSession
        self.map: CloudMap = cloud.first_map()
        seats = tuple(_seat(node.name) for node in self.map.nodes)
        self.wanted = Wanted(seats, self.map.policies, places=self.map.places)
        self._write = self.map.policies[0].write if self.map.policies else "majority"
        self.step: Step | None = None
        self.changes = 0

    def want(
        self,
        names: Iterable[str],
        *,
        copies: int = 3,
        weights: dict[str, float] | None = None,
        lost: Iterable[str] = (),
        policies: Iterable[MapPolicy] = (),
        places: Iterable[BodyPlace] = (),
    ) -> None:
        """Ask for these nodes, from the next turn on."""
        seats = tuple(_seat(name, (weights or {}).get(name, 1.0)) for name in sorted(names))
        self.wanted = Wanted(
            seats,
            (MapPolicy(name="all", copies=copies, write=self._write), *policies),
            frozenset(lost),
            tuple(places),
        )
        self.step = None

    def names(self, name: str) -> bool:
        """Whether the map names that node."""
        return any(node.name == name for node in self.map.nodes)

    async def run(self) -> None:
        """Take step after step until cancelled."""
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {SECRET}"}, timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS)
        ) as self._http:
            while True:
                await self._turn()
                await asyncio.sleep(_TURN_SECONDS)

    async def recover(self, *harms: asyncio.Task[None]) -> None:
        """End what does harm, then let every link work and every node of the map run."""
        await ended(*harms)
        self._cloud.heal()
        for name in {node.name for node in self.map.nodes}:
            await self._cloud.nodes[name].recover(partial(self.names, name))

    async def settled(self, seconds: float = 120.0) -> None:
        """Wait until the cloud is as it is wanted, and nothing of a change is left."""
        try:
            async with asyncio.timeout(seconds):
                while not self._is_settled():  # noqa: ASYNC110 (other processes: there is nothing to wait on)
                    await asyncio.sleep(_TURN_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not settled: {self.map}; {self.step}") from None

    def _is_settled(self) -> bool:
        there = {node.name for node in self.map.nodes if node.state == "active"}
        return (
            self.map.change is None
            and len(there) == len(self.map.nodes)
            and there == {seat.name for seat in self.wanted.seats}
            and all(node.s3 is None for name, node in self._cloud.nodes.items() if name not in there)
            and self.step is not None
            and self.step.map == self.map
            and not self.step.waits
        )

    async def _turn(self) -> None:
        reports = await self._reports()
        step = next_step(self.map, self.wanted, reports)
        if self.step is not None and step.waits != self.step.waits:
            self._tell(f"epoch {step.map.epoch}: {'; '.join(step.waits)}")
        self.step = step
        before, self.map = self.map, step.map
        if self.map != before:
            states = {node.name: node.state for node in self.map.nodes}
            stage = None if self.map.change is None else self.map.change.stage
            self._tell(f"epoch {self.map.epoch}: {stage} {states}")
            self.changes += before.change is not None and self.map.change is None
        named = {node.name for node in self.map.nodes}
        gone = [self._cloud.nodes[node.name] for node in before.nodes if node.name not in named]
        come = [self._cloud.nodes[name] for name in named - {node.name for node in before.nodes}]
        await asyncio.gather(*map(self._stop, gone))
        await asyncio.gather(*map(self._start, come))
        await asyncio.gather(*(self._push(self._cloud.nodes[name]) for name in named))

    async def _stop(self, node: Node) -> None:
        async with node.busy:
            await node.kill()

    async def _start(self, node: Node) -> None:
        async with node.busy:
            if node.s3 is None:
                self._cloud.write_files(node, self.map)
                await node.start()

    async def _push(self, node: Node) -> None:
        if node.peer is None:
            return
        document = self._cloud.seen_by(node, self.map).model_dump_json()
        headers = {"Content-Type": "application/json"}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.put(f"http://{node.peer}/v1/map", data=document, headers=headers) as answer:
                await answer.read()

    async def _reports(self) -> dict[str, Report]:
        nodes = [self._cloud.nodes[node.name] for node in self.map.nodes]
        found = await asyncio.gather(*map(self._report, nodes))
        return {node.name: report for node, report in zip(nodes, found, strict=True) if report is not None}

    async def _report(self, node: Node) -> Report | None:
        if node.peer is None:
            return None
        try:
            async with self._http.get(f"http://{node.peer}/v1/status") as answer:
                status = NodeStatus.model_validate_json(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValidationError):
            return None
        return Report.of(status, Volume())


class Edits:
    """Asks for another cloud from time to time, as a seed has it; with `apart` the place of bodies changes too."""

    def __init__(
        self,
        director: Director,
        cloud: Cloud,
        chance: random.Random,
        tell: Callable[[str], None],
        *,
        apart: bool = False,
        fewest_pools: int = 1,
    ) -> None:
        """Edits of a cloud; pools are chosen so many at least."""
        self._apart = apart
        self._fewest_pools = fewest_pools
        self._director = director
        self._cloud = cloud
        self._chance = chance
        self._tell = tell

    async def run(self) -> None:
        """Edit until cancelled."""
        names = sorted(self._cloud.nodes)
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 6.0))
            there = {seat.name for seat in self._director.wanted.seats}
            wanted = [name for name in names if name not in there]
            if len(wanted) < _FEWEST or self._chance.random() < _SOME:
                wanted = self._chance.sample(names, self._chance.randint(_FEWEST, len(names)))
            copies = self._chance.choice((2, 3))
            weights = {name: self._chance.choice((0.5, 1.0, 2.0)) for name in wanted}
            pools = tuple(self._chance.sample(wanted, self._chance.randint(self._fewest_pools, 3)))
            bound = [MapPolicy(name="some", prefixes=_ODD_ROUNDS, pools=pools)] if self._chance.random() < _SOME else []
            most = self._chance.randint(self._fewest_pools, 3)
            there_too = tuple(self._chance.sample(wanted, most)) if self._apart else ()
            places = (
                [BodyPlace(name="STANDARD", pools=there_too)] if there_too and self._chance.random() < _MOST else []
            )
            self._tell(
                f"want {sorted(wanted)}, {copies} copies, {weights}, some in {pools if bound else 'any'}, bodies "
                f"in {there_too if places else 'any'}"
            )
            self._director.want(wanted, copies=copies, weights=weights, policies=bound, places=places)


def _seat(name: str, weight: float = 1.0) -> Seat:
    return Seat(name, "127.0.0.1:1", name, weight=weight)
