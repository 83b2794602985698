"""One large object, put in parts and read back whole and by ranges: is memory bounded whatever the size?

    python bench/large.py --gib 20

Starts `moln dev` on a folder of its own, writes an object of noise that is made as it goes, compares every byte that
comes back, and prints how much memory the node had at its most (VmHWM), after each step.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import boto3
import servers
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

MIB: Final = 1024 * 1024
CLOUD: Final = """\
apiVersion: moln.dev/v1alpha1
kind: Cloud
metadata: {name: large}
spec:
  nodes: {replicas: 1, volume: {size: 1Ti}}
  storageClasses:
    - {name: STANDARD, default: true}
    - {name: ZSTD, compression: {algorithm: zstd}}
    - {name: DEDUP, deduplication: true}
"""


class Noise:
    """A file of so many bytes that no disk holds: each MiB is the same noise, but for its number at its beginning."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0
        self._block = random.Random(20).randbytes(MIB)  # noqa: S311 noise, no secret

    def at(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to, not including, `end`."""
        first = start // MIB
        blocks = (number.to_bytes(8, "big") + self._block[8:] for number in range(first, -(-end // MIB)))
        return b"".join(blocks)[start - first * MIB : end - first * MIB]

    def read(self, amount: int = -1) -> bytes:
        """The next bytes, as of a file."""
        end = self._size if amount < 0 else min(self._position + amount, self._size)
        data = self.at(self._position, end)
        self._position = end
        return data


def main() -> None:
    """Measure, and print as it goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gib", type=float, default=20)
    parser.add_argument("--part-mib", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=4, help="parts that are sent side by side")
    parser.add_argument("--storage-class", choices=("STANDARD", "ZSTD", "DEDUP"), default="STANDARD")
    parser.add_argument("--folder", type=Path, help="where the data goes; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        (Path(folder) / "cloud.yaml").write_text(CLOUD)
        server = servers.start_moln(Path(folder), Path(folder) / "cloud.yaml")
        try:
            settings = TransferConfig(
                multipart_threshold=arguments.part_mib * MIB,
                multipart_chunksize=arguments.part_mib * MIB,
                max_concurrency=arguments.at_once,
            )
            measure(server, int(arguments.gib * 1024) * MIB, settings, arguments.storage_class)
        finally:
            server.stop()


def measure(server: servers.Server, size: int, settings: TransferConfig, storage_class: str) -> None:
    """Put, read back, read ranges."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=f"http://{server.endpoint}",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    noise = Noise(size)
    client.create_bucket(Bucket="large")
    print(f"idle: {server.memory_mib('VmRSS'):.0f} MiB", flush=True)

    started = time.monotonic()
    extra = {"StorageClass": storage_class}
    client.upload_fileobj(noise, "large", "object", Config=settings, ExtraArgs=extra)
    tell("put", size, started, server)

    started = time.monotonic()
    ours, theirs, position = hashlib.sha256(), hashlib.sha256(), 0
    for block in client.get_object(Bucket="large", Key="object")["Body"].iter_chunks(8 * MIB):
        ours.update(noise.at(position, position + len(block)))
        theirs.update(block)
        position += len(block)
    if position != size or ours.digest() != theirs.digest():
        raise SystemExit(f"what came back is not what was put ({position} of {size} bytes)")
    tell("get", size, started, server)

    chance = random.Random(4)  # noqa: S311 offsets, no secrets
    for _ in range(50):
        start = chance.randrange(size - MIB)
        end = start + chance.randrange(1, MIB)
        answer = client.get_object(Bucket="large", Key="object", Range=f"bytes={start}-{end - 1}")
        if answer["Body"].read() != noise.at(start, end):
            raise SystemExit(f"bytes {start} to {end} are not what was put")
    print(f"ranges: 50 right, peak {server.memory_mib('VmHWM'):.0f} MiB", flush=True)


def tell(what: str, size: int, started: float, server: servers.Server) -> None:
    """A line of figures."""
    seconds = time.monotonic() - started
    rate = size / MIB / seconds
    print(
        f"{what}: {size / MIB / 1024:.1f} GiB in {seconds:.0f} s ({rate:.0f} MiB/s), "
        f"peak {server.memory_mib('VmHWM'):.0f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
