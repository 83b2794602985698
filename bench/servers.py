"""The servers that a benchmark holds side by side: how each is built, started and stopped, and how its cost is read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("MOLN_CACHE", Path.home() / ".cache/moln")) / "bench"
_MINIO_LEAST_DRIVES = 4
ACCESS_KEY, SECRET_KEY = "bench-access", "bench-secret-key"
MODULES = {
    "minio": "github.com/minio/minio@latest",
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
}


def go_tool(name: str) -> Path:
    """The program `name`, built from its Go module into the cache when it is not there."""
    module = MODULES[name]
    home = CACHE / f"{name}-{hashlib.sha256(module.encode()).hexdigest()[:12]}"
    if not (home / name).exists():
        print(f"building {module} (some minutes)", file=sys.stderr, flush=True)
        environment = os.environ | {"GOBIN": str(home), "CGO_ENABLED": "0"}
        subprocess.run(["go", "install", "-trimpath", "-ldflags", "-s -w", module], env=environment, check=True)
    return home / name


def load_generator() -> Path:
    """The load generator of bench/load, built."""
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "load"
    subprocess.run(["go", "build", "-trimpath", "-o", program, "."], cwd=ROOT / "bench/load", check=True)
    return program


@dataclass
class Server:
    """A running server: where it answers, with which keys, and the processes that it is.

    `endpoint` is host:port of each of its nodes, with commas between them.
    """

    name: str
    durability: str
    endpoint: str
    access_key: str
    secret_key: str
    starters: list[subprocess.Popen[bytes]]
    pids: list[int]

    def cpu_seconds(self) -> float:
        """User and system time of its processes so far."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, field: str) -> float:
        """Resident memory of its processes: `VmRSS` now or `VmHWM` at its peak, in MiB."""
        kib = 0
        for pid in self.pids:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
        return kib / 1024

    def stop(self) -> None:
        """End it, kindly first."""
        for starter in self.starters:
            starter.send_signal(signal.SIGTERM)
        for starter in self.starters:
            try:
                starter.wait(30)
            except subprocess.TimeoutExpired:
                starter.kill()
                starter.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _own_address() -> str:
    """The address of this machine on its way out; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address


def _await_http(endpoint: str, process: subprocess.Popen[bytes], path: str = "") -> None:
    """Wait until it answers: anything at the root, 200 at any other path."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{endpoint}/{path}", timeout=2)
        except urllib.error.HTTPError:
            if not path:
                return  # any answer is an answer: it wants a signature
            time.sleep(0.1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{process.args!r} did not serve within a minute")


def start_moln(
    folder: Path,
    cloud: Path = ROOT / "examples/cloud.yaml",
    nodes: int = 1,
    program: Path | str = "moln",
    name: str = "moln",
) -> Server:
    """`moln dev`, of the default cloud unless another is given: every acknowledged write is synced."""
    ready = folder / "ready.json"
    data = folder / "data"
    command = [program, "dev", str(cloud), "--nodes", str(nodes), "--data", str(data), "--ready-file", str(ready)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(_free_port())], stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"moln dev did not serve:\n{(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.1)
    told = json.loads(ready.read_text())
    endpoint = ",".join(json.loads(one.read_text())["s3"] for one in sorted(data.glob("*.ready.json")))
    return Server(
        name, "fsync before acknowledge", endpoint, told["access_key"], told["secret_key"], [process], told["pids"]
    )


def start_minio(folder: Path, nodes: int = 1) -> Server:
    """MinIO as it comes: on a single drive, or distributed over nodes with the four drives that it wants at least.

    Its drives are folders of one disk, which it takes only with the setting that its own tests use (MINIO_CI_CD). In a
    container its nodes don't find each other at 127.0.0.1, so they have this machine's own address; the bytes between
    them go over the loopback all the same.
    """
    host = "127.0.0.1" if nodes == 1 else _own_address()
    endpoints = [f"{host}:{_free_port()}" for _ in range(nodes)]
    drives = -(-_MINIO_LEAST_DRIVES // nodes)
    places = [f"http://{one}{folder}/n{n}/d{drive}" for n, one in enumerate(endpoints) for drive in range(drives)]
    environment = os.environ | {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET_KEY,
        "MINIO_BROWSER": "off",
        "MINIO_CI_CD": "1",
    }
    processes = []
    with (folder / "log").open("wb") as log:
        for one in endpoints:
            command = [str(go_tool("minio")), "server", "--quiet", "--address", one]
            processes.append(
                subprocess.Popen(
                    [*command, *(places if nodes > 1 else [str(folder / "data")])],
                    stdout=log,
                    stderr=log,
                    env=environment,
                )
            )
    pids = [process.pid for process in processes]
    where = ",".join(endpoints)
    server = Server("minio", "fdatasync before acknowledge", where, ACCESS_KEY, SECRET_KEY, processes, pids)
    try:
        for one, process in zip(endpoints, processes, strict=True):
            _await_http(one, process, "" if nodes == 1 else "minio/health/cluster")
    except BaseException:
        server.stop()
        raise
    return server


def start_versitygw(folder: Path) -> Server:
    """Versitygw over a plain folder, as it comes: it never syncs."""
    endpoint = f"127.0.0.1:{_free_port()}"
    data = folder / "data"
    data.mkdir()
    program = [str(go_tool("versitygw")), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port", endpoint]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*program, "posix", str(data)], stdout=log, stderr=log)
    _await_http(endpoint, process)
    return Server("versitygw", "never syncs", endpoint, ACCESS_KEY, SECRET_KEY, [process], [process.pid])


OF_MANY = ("moln", "minio")
"""Those that run as several nodes."""


OTHER = "other"
"""A second moln, of another build."""


def start(name: str, folder: Path, nodes: int = 1, other: Path | None = None) -> Server:
    """Start the named server with its data and log in `folder`, emptied first; `other` is the command of OTHER."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name == "moln":
        return start_moln(folder, nodes=nodes)
    if name == OTHER and other is not None:
        return start_moln(folder, nodes=nodes, program=other, name=OTHER)
    return start_minio(folder, nodes) if name == "minio" else start_versitygw(folder)
