"""What goes wrong while clients work: chosen by a seed, so that it can be seen again."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

from moln_node.cluster.ballots import SKEW_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.nodes import Cloud, Node


class Faults:
    """One fault after the other; each is over before the next begins."""

    def __init__(
        self, cloud: Cloud, seed: int, tell: Callable[[str], None], *, disks: bool = False, harsh: bool = False
    ) -> None:
        self._cloud = cloud
        self._harsh = 6 if harsh else 0
        self._chance = random.Random(f"faults/{seed}")
        self._tell = tell
        self._disks = 2 if disks else 0
        self.count = 0

    async def run(self) -> None:
        """Do harm until cancelled."""
        kinds = (
            self.kill,
            self.pause,
            self.cut_off,
            self.one_way,
            self.some_links,
            self.slow,
            self.kill_two,
            self.lose_disk,
            self.clock,
            self.fill,
            self.flip,
            self.garble,
        )
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 1.0))
            self.count += 1
            await self._chance.choices(kinds, (3, 3, 3, 3, 3, 5, 1, self._disks, *[self._harsh] * 4))[0]()

    def _node(self) -> Node:
        return self._chance.choice([node for node in self._cloud.nodes.values() if node.s3 is not None])

    def _name(self) -> str:
        return self._node().name

    async def _hold(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.3, 2.5))

    async def _kill(self, node: Node, *, lose: bool = False) -> None:
        async with node.busy:
            if node.s3 is None:
                return  # it has left meanwhile
            await node.kill()
            if lose:
                node.lose_disk()
            else:
                await self._hold()
            await node.start()

    async def kill(self) -> None:
        """Kill -9, and start again."""
        node = self._node()
        self._tell(f"kill {node.name}")
        await self._kill(node)

    async def kill_two(self) -> None:
        """Kill two at once: for a while there may be no majority."""
        nodes = self._chance.sample([node for node in self._cloud.nodes.values() if node.s3 is not None], 2)
        self._tell(f"kill {[node.name for node in nodes]}")
        await asyncio.gather(*map(self._kill, nodes))

    async def lose_disk(self) -> None:
        """Kill one, empty its disk, start it again, and wait until it counts: the next may be another's."""
        node = self._node()
        self._tell(f"lose the disk of {node.name}")
        await self._kill(node, lose=True)
        while node.s3 is not None and not await node.counts():  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.2)

    async def clock(self) -> None:
        """A node comes back with another time of day, up to a minute wrong."""
        node = self._node()
        node.environment[SKEW_VARIABLE] = str(self._chance.randint(-60_000, 60_000))
        self._tell(f"clock of {node.name}: {node.environment[SKEW_VARIABLE]} ms, and kill")
        await self._kill(node)

    async def fill(self) -> None:
        """A node's disk is full to the last byte."""
        node = self._node()
        self._tell(f"fill the disk of {node.name}")
        with node.full_disk():
            await self._hold()

    async def flip(self) -> None:
        """A bit of a large body of the first node flips: of the others' disks nothing is lost at the same time."""
        node = self._cloud.nodes[min(self._cloud.nodes)]
        bodies = sorted(path for path in (node.room / "data" / "bodies").rglob("*") if path.is_file())
        if not bodies:
            return
        body = self._chance.choice(bodies)
        self._tell(f"flip a bit of {body.name} of {node.name}")
        with contextlib.suppress(FileNotFoundError), body.open("r+b") as file:  # it may have been replaced just now
            offset = self._chance.randrange(body.stat().st_size)
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1 << self._chance.randrange(8)]))

    async def pause(self) -> None:
        """SIGSTOP for a while."""
        node = self._node()
        self._tell(f"pause {node.name}")
        async with node.busy:
            if node.s3 is None:
                return
            node.pause()
            try:
                await self._hold()
            finally:
                node.resume()

    async def cut_off(self) -> None:
        """One node and the others don't hear each other."""
        name = self._name()
        self._tell(f"cut off {name}")
        self._cloud.isolate(name)
        await self._healed()

    async def one_way(self) -> None:
        """One node is not heard, but hears; or the other way round."""
        name, incoming = self._name(), self._chance.random() < 0.5
        self._tell(f"one way {name} incoming={incoming}")
        self._cloud.isolate(name, incoming=incoming, outgoing=not incoming)
        await self._healed()

    async def some_links(self) -> None:
        """Any links, each way by itself."""
        cut = [pair for pair in self._cloud.links if self._chance.random() < 0.4]
        self._tell(f"cut {cut}")
        for pair in cut:
            self._cloud.links[pair].cut()
        await self._healed()

    async def slow(self) -> None:
        """Some links hold everything back."""
        for pair, link in self._cloud.links.items():
            if self._chance.random() < 0.5:
                link.delay = self._chance.uniform(0.01, 0.4)
                self._tell(f"slow {pair} {link.delay:.2f} s")
        await self._healed()

    async def garble(self) -> None:
        """Some links change a bit of what they carry now and then."""
        for pair, link in self._cloud.links.items():
            if self._chance.random() < 0.3:
                self._tell(f"garble {pair}")
                link.change = self._change
        await self._healed()

    def _change(self, data: bytes) -> bytes:
        if self._chance.random() < 0.8:
            return data
        at = self._chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self._chance.randrange(8)]) + data[at + 1 :]

    async def _healed(self) -> None:
        try:
            await self._hold()
        finally:
            self._cloud.heal()
