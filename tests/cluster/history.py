"""Concurrent clients on few keys, and the history of what they did, for the linearizability checker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.client import Answer, Client
    from tests.cluster.nodes import Cloud

CHECKER = Path(__file__).parent.parent / "linearizability"
_LARGE = 200_000
_UNKNOWN = (0, 500, 503, 507, 409)


class History:
    """Operations as they end, a line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self._file = path.open("w")

    def add(self, **operation: str | int) -> None:
        """Write one operation down."""
        name = f"{operation['op']} {operation['result']}"
        self.counts[name] = self.counts.get(name, 0) + 1
        self._file.write(json.dumps(operation) + "\n")

    def close(self) -> None:
        """Bring the file to an end."""
        self._file.close()

    def check(self, seconds: int = 60) -> tuple[int, str]:
        """The checker's exit code (0: linearizable) and what it says."""
        binary = self.path.parent / "checker"
        subprocess.run(["go", "build", "-o", binary, "."], cwd=CHECKER, check=True)
        run = subprocess.run(
            [binary, "-timeout", f"{seconds}s", "-visualize", self.path.parent, self.path],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return run.returncode, run.stdout + run.stderr


class Clients:
    """Some clients, each of which does one thing after the other, through any node."""

    def __init__(self, cloud: Cloud, client: Client, history: History, bucket: str, seed: int) -> None:
        self._cloud = cloud
        self._client = client
        self._history = history
        self._bucket = bucket
        self._seed = seed
        self.round = 0
        self.keys = 3
        self.used: set[str] = set()

    async def run(self, count: int, seconds: float) -> None:
        """Let `count` clients work for so long."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._one(number, until) for number in range(count)))

    async def _one(self, number: int, until: float) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        seen: dict[str, str] = {}
        step = 0
        while time.monotonic() < until:
            step += 1
            key = f"r{self.round}-{chance.randrange(self.keys)}"
            self.used.add(key)
            node = chance.choice([node for node in self._cloud.nodes.values() if node.process is not None])
            operation: dict[str, str | int] = {"key": key, "client": number, "value": "", "condition": "", "expect": ""}
            kind = chance.choices(("put", "get", "conditional", "delete"), (30, 40, 20, 10))[0]
            path = f"/{self._bucket}/{key}"
            headers: dict[str, str] = {}
            body = b""
            if kind in {"put", "conditional"}:
                body = f"{number}/{step}/".encode() * (1 if chance.random() < 0.9 else _LARGE // 8)
                operation |= {"op": "put", "value": hashlib.md5(body, usedforsecurity=False).hexdigest()}
                if kind == "conditional":
                    etag = seen.get(key, "")
                    headers = {"If-Match": etag} if etag and chance.random() < 0.8 else {"If-None-Match": "*"}
                    condition = "match" if "If-Match" in headers else "absent"
                    operation |= {"condition": condition, "expect": etag if condition == "match" else ""}
            else:
                operation["op"] = kind
            method = {"get": "GET", "delete": "DELETE"}.get(kind, "PUT")
            operation["call"] = time.monotonic_ns()
            answer = await self._client.call(node, method, path, body, headers)
            operation["return"] = time.monotonic_ns()
            if answer.status == -1:
                await asyncio.sleep(0.02)
                continue
            if answer.status == 503:
                await asyncio.sleep(0.4)  # each that is uncertain makes checking harder
            seen[key] = _judge(operation, answer, seen.get(key, ""))
            if operation["result"] != "dropped":
                self._history.add(**operation)


def _judge(operation: dict[str, str | int], answer: Answer, seen: str) -> str:
    """Say in the operation what came of it; the ETag that the key had then, as far as is known."""
    if operation["op"] == "get":
        operation["result"] = "value" if answer.status in (200, 404) else "dropped"
        if answer.status == 200:
            operation["value"] = hashlib.md5(answer.body, usedforsecurity=False).hexdigest()
            assert operation["value"] == answer.etag, "the bytes are not those of the ETag"
        return str(operation["value"]) if operation["result"] == "value" else seen
    if answer.status in (200, 204):
        operation["result"] = "done"
        return str(operation["value"])
    if answer.status in (404, 412) and operation["condition"]:
        operation["result"] = "refused"
        return seen
    assert answer.status in _UNKNOWN, (operation, answer)
    operation["result"] = "unknown"
    return seen
