"""Real nodes of one cloud, as processes on loopback, and what can be done to them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

import aiohttp
from tests.cluster.links import Link, unchanged

from moln_spec.cloudmap import BodyPlace, CloudMap, MapNode, MapPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

SECRET = "a secret of many nodes"
ACCESS_KEY, SECRET_KEY = "tester", "tester-secret-key"
_START_SECONDS = 120.0


class Node:
    """One node's process and disk."""

    def __init__(self, room: Path, name: str, environment: dict[str, str], module: str) -> None:
        self.name = name
        self.module = module
        self.room = room / name
        self.room.mkdir(parents=True)
        self.environment = environment
        self.process: asyncio.subprocess.Process | None = None
        self.s3: str | None = None
        self.peer: str | None = None
        self.busy = asyncio.Lock()
        self.own_disk = False

    async def start(self) -> None:
        """Start the process, and wait until it serves; whoever is cancelled meanwhile leaves none behind."""
        try:
            await self._start()
        except BaseException:
            await self.kill()
            raise

    async def _start(self) -> None:
        ready = self.room / "ready"
        ready.unlink(missing_ok=True)
        flags = {
            "name": self.name,
            "data": self.room / "data",
            "map": self.room / "map.json",
            "credentials": self.room / "credentials.json",
            "cloud-secret": self.room / "secret",
            "listen": "127.0.0.1:0",
            "peer-listen": "127.0.0.1:0",
            "ready-file": ready,
            "log-format": "text",
        }
        arguments = [part for flag, value in flags.items() for part in (f"--{flag}", str(value))]
        with (self.room / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, *arguments, "--until-stdin-closes",
                stdin=asyncio.subprocess.PIPE, stderr=log, stdout=log, env={**os.environ, **self.environment},
            )  # fmt: skip
        async with asyncio.timeout(_START_SECONDS):
            while not ready.exists():
                if self.process.returncode is not None:
                    raise AssertionError(f"{self.name} ended: {self.log()[-2000:]}")
                await asyncio.sleep(0.02)
        found = json.loads(ready.read_text())
        self.s3, self.peer = found["s3"], found["peer"]

    def log(self) -> str:
        """What it wrote."""
        return (self.room / "log").read_text(errors="replace")

    async def counts(self) -> bool:
        """Whether it says that it counts as an owner."""
        async with aiohttp.ClientSession() as http, http.get(f"http://{self.peer}/ready") as answer:
            checks = {check["name"]: check["state"] for check in json.loads(await answer.read())["checks"]}
            return bool(checks.get("cluster", "ok") == "ok")

    async def kill(self) -> None:
        """Kill -9."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            await self.process.wait()
        self.s3 = self.peer = None

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        assert self.process is not None
        self.process.terminate()
        return await self.process.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)

    async def recover(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Let it run, whatever was done to it, if it is wanted still when nobody else is busy with it."""
        async with self.busy:
            if not wanted():
                return
            if self.s3 is None:
                await self.start()
            else:
                self.resume()

    def lose_disk(self) -> None:
        """Empty the disk of a node that does not run."""
        for entry in (self.room / "data").iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def give_disk(self, mebibytes: int) -> None:
        """Give it a disk of its own, of that size, in memory. Needs root."""
        (self.room / "data").mkdir()
        options = f"size={mebibytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.room / "data"], check=True)
        self.own_disk = True

    def take_disk(self) -> None:
        """Take its own disk away, if it has one."""
        if self.own_disk:
            subprocess.run(["umount", self.room / "data"], check=True)
            self.own_disk = False

    @contextmanager
    def full_disk(self, spare: int = 0) -> Iterator[None]:
        """Its own disk, full to the last byte, or but for some."""
        assert self.own_disk
        filler = self.room / "data" / f"filler-{spare}"
        try:
            with filler.open("wb", buffering=0) as file, suppress(OSError):  # a buffer would be written at close
                while True:
                    file.write(bytes(64 * 1024))
            os.truncate(filler, filler.stat().st_size - spare)
            yield
        finally:
            filler.unlink(missing_ok=True)


class Cloud:
    """Nodes n0, n1, ... joined by links; an async context manager."""

    def __init__(
        self,
        room: Path,
        count: int,
        environments: dict[str, dict[str, str]] | None = None,
        *,
        spares: int = 0,
        policies: tuple[MapPolicy, ...] = (),
        places: tuple[BodyPlace, ...] = (),
        module: str = "moln_node",
        disk_mebibytes: int = 0,
    ) -> None:
        """`count` nodes from the beginning, and room for `spares` more that may come later; each runs that module.

        With `disk_mebibytes` each has a disk of its own of that size.
        """
        self._disk_mebibytes = disk_mebibytes
        self._policies = policies
        self._places = places
        names = [f"n{number}" for number in range(count + spares)]
        self._first = names[:count]
        self.nodes = {name: Node(room, name, (environments or {}).get(name, {}), module) for name in names}
        self.links = {
            (source, target): Link(lambda target=target: self.nodes[target].peer)  # type: ignore[misc]
            for source in names
            for target in names
            if source != target
        }

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*(link.start() for link in self.links.values()))
            for node in self.nodes.values() if self._disk_mebibytes else ():
                node.give_disk(self._disk_mebibytes)
            cloud_map = self.first_map()
            first = [self.nodes[name] for name in self._first]
            for node in first:
                self.write_files(node, cloud_map)
            await asyncio.gather(*(node.start() for node in first))
            deadline = time.monotonic() + _START_SECONDS
            while not all([await node.counts() for node in first]):
                assert time.monotonic() < deadline, "the nodes do not find each other"
                await asyncio.sleep(0.05)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(node.kill() for node in self.nodes.values()))
        for node in self.nodes.values():
            node.take_disk()
        await asyncio.gather(*(link.close() for link in self.links.values()))

    def first_map(self) -> CloudMap:
        """The map of the nodes that are there from the beginning."""
        nodes = tuple(
            MapNode(name=name, number=number, address="127.0.0.1:1", pool=name)
            for number, name in enumerate(self._first)
        )
        return CloudMap(
            cloud="test",
            uid="test",
            epoch=1,
            partitions=64,
            next_number=len(nodes),
            nodes=nodes,
            policies=self._policies,
            places=self._places,
        )

    def seen_by(self, node: Node, cloud_map: CloudMap) -> CloudMap:
        """The map with the links of one node as the others' addresses."""
        others = [name for name in self.nodes if name != node.name]
        addressed = tuple(
            entry.model_copy(
                update={
                    "address": self.links[(node.name if entry.name != node.name else others[0]), entry.name].address
                }
            )
            for entry in cloud_map.nodes
        )
        return cloud_map.model_copy(update={"nodes": addressed})

    def write_files(self, node: Node, cloud_map: CloudMap) -> None:
        """What a node is given at its start."""
        (node.room / "map.json").write_text(self.seen_by(node, cloud_map).model_dump_json())
        key = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "policy": "admin"}
        (node.room / "credentials.json").write_text(json.dumps({"keys": [key]}))
        (node.room / "secret").write_text(SECRET)

    def isolate(self, name: str, *, incoming: bool = True, outgoing: bool = True) -> None:
        """Cut a node off, both ways or one."""
        for (source, target), link in self.links.items():
            if (outgoing and source == name) or (incoming and target == name):
                link.cut()

    def heal(self) -> None:
        """Every link works again."""
        for link in self.links.values():
            link.heal()
            link.delay = 0.0
            link.change = unchanged
