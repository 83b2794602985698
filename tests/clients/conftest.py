"""A cloud of one node and one of five for all clients, and the programs, each run with only its own settings."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from tests.cli.harness import Desk
from tests.clients.spray import Spray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS = 120
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Door:
    """Where a cloud is reached, and the keys to it."""

    endpoint: str
    access_key: str
    secret_key: str

    def s3(self) -> Any:
        """A boto3 client."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )


@dataclass
class Bench:
    """The door of a running cloud, a bucket of the test's own, and a folder to work in."""

    door: Door
    bucket: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What every program gets: a home of its own and the keys under the names that AWS's tools read."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": self.door.access_key,
            "AWS_SECRET_ACCESS_KEY": self.door.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, *command: str | Path, fails: bool = False, more: Mapping[str, str] | None = None) -> str:
        """Run a program to its end; its standard output. It must succeed, or with `fails` must not."""
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment | dict(more or {}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode != 0) is fails, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def plant(self, name: str = "in") -> dict[str, bytes]:
        """A folder of files: small and large, empty, odd names; by path below it."""
        folder = self.folder / name
        content = {
            "small.txt": b"small",
            "empty": b"",
            "deep/er/file": b"x" * 100_000,
            "odd/ä ö+&=%20.bin": b"odd",
            "large.bin": os.urandom(20 * 1024 * 1024 + 17),
        }
        for relative, data in content.items():
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return content

    def tree(self, name: str) -> dict[str, bytes]:
        """Every file below a folder."""
        folder = self.folder / name
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def program(name: str) -> str:
    """Where a client is; the test fails, and says what to run, where it is not."""
    cache = Path(os.environ.get("MOLN_CACHE") or Path.home() / ".cache/moln") / "clients"
    built = sorted(cache.glob(f"*/{name}"))
    found = str(built[-1]) if built else f"/usr/bin/{name}"  # Debian's `mc` is another program
    if not shutil.which(found):
        pytest.fail(f"{name} is not installed: run scripts/install-clients")
    return found


def of_nodes(count: int) -> Any:
    """A cloud that its tests share, so they run in one process."""
    return pytest.param(count, marks=pytest.mark.xdist_group(f"clients of {count}"))


@pytest.fixture(scope="module", params=[of_nodes(1), of_nodes(5)], ids=["one node", "five nodes"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A cloud for a module; of several nodes each takes the next connection."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    try:
        dev = desk.start("--data", str(desk.folder / "data"), "--nodes", str(request.param))
        nodes = [json.loads(file.read_text())["s3"] for file in sorted((desk.folder / "data").glob("*.ready.json"))]
        assert len(nodes) == request.param
        with Spray(nodes) as spray:
            yield Door(f"http://{spray.address}", dev.access_key, dev.secret_key)
            assert spray.connections >= request.param
    finally:
        desk.end()


@pytest.fixture
def bench(cloud: Door, tmp_path: Path) -> Bench:
    """An empty bucket."""
    bucket = f"clients-{next(_numbers)}"
    cloud.s3().create_bucket(Bucket=bucket)
    return Bench(cloud, bucket, tmp_path)
