"""Node processes: started, awaited, heard, stopped.

A node holds a pipe from this process as its standard input and stops when that ends, so that nothing is left behind
however this process dies. Its log is read all the time and the last lines are kept.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln.errors import CliError, Exit

if TYPE_CHECKING:
    from pathlib import Path

_START_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.02
_LINE_LIMIT: Final = 1024 * 1024
_TAIL: Final = 20


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What a node process is told."""

    name: str
    data: Path
    map: Path
    credentials: Path
    cloud_secret: Path
    listen: str
    peer_listen: str
    domains: tuple[str, ...]
    access_log: bool

    def command(self, ready_file: Path) -> list[str]:
        """The command line of `moln-node`."""
        domains = [part for domain in self.domains for part in ("--domain", domain)]
        return [
            *(sys.executable, "-m", "moln_node", "--until-stdin-closes", "--log-format", "text"),
            *("--name", self.name, "--data", str(self.data), "--map", str(self.map)),
            *("--credentials", str(self.credentials), "--cloud-secret", str(self.cloud_secret)),
            *("--listen", self.listen, "--peer-listen", self.peer_listen),
            *("--access-log", "on" if self.access_log else "off"),
            *("--ready-file", str(ready_file), *domains),
        ]


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a node answers, as `host:port`."""

    s3: str
    peer: str


class NodeProcess:
    """One node from its start to its end."""

    def __init__(self, plan: NodePlan, process: asyncio.subprocess.Process, ready_file: Path, *, verbose: bool) -> None:
        self.plan = plan
        self._process = process
        self._ready_file = ready_file
        self._verbose = verbose
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._reading = asyncio.create_task(self._read_log())

    @classmethod
    async def start(cls, plan: NodePlan, ready_file: Path, *, verbose: bool) -> NodeProcess:
        """Start the process; it does not serve yet."""
        ready_file.unlink(missing_ok=True)  # noqa: ASYNC240 (one small local file)
        process = await asyncio.create_subprocess_exec(
            *plan.command(ready_file),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            limit=_LINE_LIMIT,
            start_new_session=True,  # Ctrl-C is ours to hand on
        )
        return cls(plan, process, ready_file, verbose=verbose)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    async def serving(self) -> Serving:
        """Wait until the node serves; CliError with its last words if it ends instead."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not self._ready_file.exists():
                    if self._process.returncode is not None:
                        raise await self.death()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise CliError(
                f"node {self.plan.name} does not serve after {_START_SECONDS:.0f} s{self._last_words()}"
            ) from None
        told = json.loads(self._ready_file.read_text(encoding="utf-8"))
        return Serving(s3=told["s3"], peer=told["peer"])

    async def death(self) -> CliError:
        """Wait for the process to end, and say so with its last lines."""
        code = await self._process.wait()
        await self._reading
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return CliError(f"node {self.plan.name} {how}{self._last_words()}", Exit.FAILURE)

    async def stop(self, seconds: float) -> None:
        """Ask the node to stop and wait for its end; kill it after `seconds`."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(seconds):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        await self._reading

    async def _read_log(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # a line beyond the limit: its rest follows
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._tail.append(text)
            if self._verbose:
                print(f"{self.plan.name}: {text}", file=sys.stderr, flush=True)

    def _last_words(self) -> str:
        if not self._tail:
            return ""
        return "; its last log lines:\n" + "\n".join(f"  {line}" for line in self._tail)
