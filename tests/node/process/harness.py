"""Real node processes for tests: files, flags and ports of their own; `conftest` ends them whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ACCESS_KEY = "ROOTKEY"
SECRET_KEY = "root-secret-of-tests"
CLOUD_SECRET = "cloud-secret-of-tests"
DEADLINE = 60.0


def cloud_map(epoch: int = 1, *, uid: str = "uid-1", node: str = "n-0", **changes: Any) -> dict[str, Any]:
    """A cloud map of one node, as JSON has it."""
    return {
        "cloud": "test",
        "uid": uid,
        "epoch": epoch,
        "nodes": [{"name": node, "number": 0, "address": "127.0.0.1:1", "pool": "test"}],
        "storageClasses": [{"name": "STANDARD", "default": True}, {"name": "COLD"}],
        **changes,
    }


def credentials(*keys: tuple[str, str]) -> dict[str, Any]:
    """Credentials with these access and secret keys, every one an administrator's."""
    return {"keys": [{"access_key": key, "secret_key": secret, "policy": "admin"} for key, secret in keys]}


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Poll until `holds`, or fail at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE:.0f} s: {what}")
        time.sleep(0.01)


@dataclass
class Node:
    """A node process, and how to speak with it."""

    folder: Path
    flags: list[str]
    process: subprocess.Popen[bytes]
    s3: str = ""
    peer: str = ""
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=DEADLINE))

    def wait_ready(self) -> Node:
        """Wait for the ready file, and take the ports from it."""
        ready = self.folder / "ready.json"
        wait_until("the ready file", lambda: ready.exists() or self.process.poll() is not None)
        if not ready.exists():
            pytest.fail(f"the node ended with {self.process.returncode}: {self.log()}")
        told = json.loads(ready.read_text())
        assert told["pid"] == self.process.pid
        self.s3, self.peer = told["s3"], told["peer"]
        return self

    def log(self) -> str:
        """Everything it has said."""
        return (self.folder / "log").read_text()

    def call(
        self, method: str, path: str, document: Any = None, *, secret: str | None = CLOUD_SECRET
    ) -> tuple[int, dict[str, Any]]:
        """A call to the peer port: status and JSON."""
        headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}
        body = json.dumps(document).encode() if document is not None else None
        answer = self.pool.request(method, f"http://{self.peer}{path}", body=body, headers=headers)
        return answer.status, answer.json()

    def text(self, path: str) -> tuple[int, str]:
        """An open page of the peer port."""
        answer = self.pool.request("GET", f"http://{self.peer}{path}")
        return answer.status, answer.data.decode()

    def client(self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> Any:
        """A real S3 client."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://{self.s3}",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@dataclass
class Nodes:
    """Starts node processes in one folder, where their data outlives them."""

    folder: Path
    started: list[Node] = field(default_factory=list)
    program: tuple[str, ...] = ("moln_node",)

    def write(self, name: str, content: Any) -> Path:
        """A file that a flag names: JSON, or text as it is."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def spawn(self, *more: str, **replaced: str) -> Node:
        """Start a process with the usual flags; `replaced` by flag name, `more` at the end. It need not be ready."""
        (self.folder / "ready.json").unlink(missing_ok=True)
        for name, content in (
            ("map.json", cloud_map()),
            ("credentials.json", credentials((ACCESS_KEY, SECRET_KEY))),
            ("secret", CLOUD_SECRET + "\n"),
        ):
            if not (self.folder / name).exists():
                self.write(name, content)
        usual = {
            "name": "n-0",
            "data": str(self.folder / "data"),
            "map": str(self.folder / "map.json"),
            "credentials": str(self.folder / "credentials.json"),
            "cloud-secret": str(self.folder / "secret"),
            "listen": "127.0.0.1:0",
            "peer-listen": "127.0.0.1:0",
            "ready-file": str(self.folder / "ready.json"),
            "log-format": "text",
        } | {name.replace("_", "-"): value for name, value in replaced.items()}
        flags = [part for name, value in usual.items() for part in (f"--{name}", value)]
        flags.extend(more)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MOLN_")}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *self.program, *flags],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        node = Node(self.folder, flags, process)
        self.started.append(node)
        return node

    def start(self, *more: str, **replaced: str) -> Node:
        """Start a process and wait until it serves."""
        return self.spawn(*more, **replaced).wait_ready()

    def refused(self, *more: str, **replaced: str) -> tuple[int, str]:
        """Start a process that cannot start: its exit code, and the one line that it says."""
        (self.folder / "log").unlink(missing_ok=True)
        node = self.spawn(*more, **replaced)
        code = node.process.wait(DEADLINE)
        lines = node.log().splitlines()
        assert len(lines) == 1, lines
        return code, lines[0]

    def end(self) -> None:
        """Kill whatever still runs, and let go of its pipes."""
        for node in self.started:
            if node.process.poll() is None:
                node.process.kill()
            node.process.wait(DEADLINE)
            if node.process.stdin is not None:
                node.process.stdin.close()
            node.pool.clear()
