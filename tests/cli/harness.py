"""`moln dev` as a real process, and `moln` run against it: everything it writes stays in the test's folder."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
import pytest
from botocore.config import Config

from moln.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE = 60.0
CLOUD = """\
apiVersion: moln.dev/v1alpha1
kind: Cloud
metadata:
  name: test
spec:
  nodes: {replicas: 1}
  storageClasses:
    - {name: STANDARD, default: true}
    - {name: COLD}
  assignmentRules:
    - {name: logs are cold, match: {suffix: .log}, storageClass: COLD}
"""


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    """Poll until `holds`, or fail at the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE:.0f} s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Result:
    """How a command ended."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.raw.decode()

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What --json printed."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Dev:
    """One `moln dev`."""

    folder: Path
    process: subprocess.Popen[str]
    endpoint: str = ""
    access_key: str = ""
    secret_key: str = ""
    pids: list[int] = field(default_factory=list)

    def wait_ready(self) -> Dev:
        """Wait for the ready file, and take from it what it says."""
        ready = self.folder / "ready.json"
        wait_until("the ready file", lambda: ready.exists() or self.process.poll() is not None)
        if not ready.exists():
            pytest.fail(f"moln dev ended with {self.process.returncode}: {self.log()}")
        told = json.loads(ready.read_text())
        self.endpoint, self.pids = told["endpoint"], told["pids"]
        self.access_key, self.secret_key = told["access_key"], told["secret_key"]
        return self

    def log(self) -> str:
        """Everything it has printed."""
        return (self.folder / "dev.log").read_text()

    def s3(self, access_key: str = "", secret_key: str = "") -> Any:
        """A real S3 client."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=access_key or self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


@dataclass
class Desk:
    """A user's desk: a folder with a cloud's YAML, their profiles, and the clouds they run."""

    folder: Path
    started: list[Dev] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "cloud.yaml").write_text(CLOUD)
        (self.folder / "tmp").mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own settings, everything in this folder."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MOLN_", "AWS_"))}
        clean["XDG_CONFIG_HOME"] = str(self.folder / "config")
        clean["XDG_CACHE_HOME"] = str(self.folder / "cache")
        clean["TMPDIR"] = str(self.folder / "tmp")
        return clean

    def spawn(self, *flags: str, yaml: str = "cloud.yaml") -> Dev:
        """Start `moln dev`; it need not be ready."""
        (self.folder / "ready.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "moln", "dev", str(self.folder / yaml), "--port", "0"]
        command += ["--ready-file", str(self.folder / "ready.json"), *flags]
        with (self.folder / "dev.log").open("a") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, text=True
            )
        dev = Dev(self.folder, process)
        self.started.append(dev)
        return dev

    def start(self, *flags: str) -> Dev:
        """Start `moln dev` and wait until it serves."""
        return self.spawn(*flags).wait_ready()

    def moln(self, *arguments: str | Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Result:
        """Run a command in this process, as the console script would."""
        raw, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(raw, "utf-8", write_through=True)
        with (
            patch.object(sys, "argv", ["moln", *map(str, arguments)]),
            patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            patch.dict(os.environ, {**self.environment, **(environment or {})}, clear=True),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            code = main()
        return Result(code, raw.getvalue(), err.getvalue())

    def end(self) -> None:
        """Kill whatever still runs."""
        for dev in self.started:
            if dev.process.poll() is None:
                dev.process.kill()
            dev.process.wait(DEADLINE)
            for pid in dev.pids:
                wait_until(f"node {pid} ends", lambda pid=pid: not alive(pid))  # type: ignore[misc]
