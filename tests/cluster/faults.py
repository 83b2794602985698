"""What goes wrong while clients work: chosen by a seed, so that it can be seen again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster.nodes import Cloud


class Faults:
    """One fault after the other; each is over before the next begins."""

    def __init__(self, cloud: Cloud, seed: int, tell: Callable[[str], None], *, disks: bool = False) -> None:
        self._cloud = cloud
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
        )
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 1.0))
            self.count += 1
            await self._chance.choices(kinds, (3, 3, 3, 3, 3, 5, 1, self._disks))[0]()

    def _name(self) -> str:
        return self._chance.choice(list(self._cloud.nodes))

    async def _hold(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.3, 2.5))

    async def kill(self) -> None:
        """Kill -9, and start again."""
        name = self._name()
        self._tell(f"kill {name}")
        await self._cloud.nodes[name].kill()
        await self._hold()
        await self._cloud.nodes[name].start()

    async def kill_two(self) -> None:
        """Kill two at once: for a while there may be no majority."""
        names = self._chance.sample(list(self._cloud.nodes), 2)
        self._tell(f"kill {names}")
        await asyncio.gather(*(self._cloud.nodes[name].kill() for name in names))
        await self._hold()
        await asyncio.gather(*(self._cloud.nodes[name].start() for name in names))

    async def lose_disk(self) -> None:
        """Kill one, empty its disk, start it again, and wait until it counts: the next may be another's."""
        name = self._name()
        node = self._cloud.nodes[name]
        self._tell(f"lose the disk of {name}")
        await node.kill()
        node.lose_disk()
        await node.start()
        while not await node.counts():  # noqa: ASYNC110 (another process: there is nothing to wait on)
            await asyncio.sleep(0.2)

    async def pause(self) -> None:
        """SIGSTOP for a while."""
        name = self._name()
        self._tell(f"pause {name}")
        self._cloud.nodes[name].pause()
        try:
            await self._hold()
        finally:
            self._cloud.nodes[name].resume()

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

    async def _healed(self) -> None:
        try:
            await self._hold()
        finally:
            self._cloud.heal()
