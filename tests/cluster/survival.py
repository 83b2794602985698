"""A cloud whose writes count by one owner, under faults: `python -m tests.cluster.survival --seconds 60 --seed 1`.

Nothing orders such writes for all readers, so there is no history to hold against a model. What is checked when the
faults are over: nobody owes anything any more, all nodes agree, every version that was acknowledged in a versioned
bucket is there with its bytes, and of a key without versions the last acknowledged write is what is left. Exits with 1
at a violation, and says where the writes are listed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from tests.cluster.client import Client
from tests.cluster.director import Director, Edits, ended
from tests.cluster.faults import Faults
from tests.cluster.nodes import SECRET, Cloud

from moln_spec.cloudmap import MapPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cluster.nodes import Node

_CLIENTS = 6
_KEYS = 6
_LARGE = 100_000
_SETTLE_SECONDS = 120.0
_SAME_MOMENT = 0.05
_ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
VERSIONED, PLAIN = "versioned", "plain"


@dataclass(frozen=True, slots=True)
class Write:
    """A put, or a delete with no ETag, and when it was under way; `acknowledged` false: nobody knows."""

    bucket: str
    key: str
    etag: str
    version: str
    begun: float
    ended: float
    acknowledged: bool


class Writers:
    """Some clients that put, delete and get through any node."""

    def __init__(self, cloud: Cloud, client: Client, seed: int) -> None:
        self._cloud = cloud
        self._client = client
        self._seed = seed
        self.writes: list[Write] = []

    async def run(self, seconds: float) -> None:
        """Let them work for so long."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._one(number, until) for number in range(_CLIENTS)))

    async def _one(self, number: int, until: float) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        step = 0
        while time.monotonic() < until:
            step += 1
            bucket, key = chance.choice((VERSIONED, PLAIN)), f"k{chance.randrange(_KEYS)}"
            node = chance.choice([node for node in self._cloud.nodes.values() if node.process is not None])
            method = chance.choices(("PUT", "DELETE", "GET"), (60, 15, 25))[0]
            body = f"{number}/{step}/".encode() * (1 if chance.random() < 0.8 else _LARGE // 8)
            begun = time.monotonic()
            answer = await self._client.call(node, method, f"/{bucket}/{key}", body if method == "PUT" else b"")
            ended = time.monotonic()
            if answer.status == -1:
                await asyncio.sleep(0.02)
                continue
            if method == "GET":
                assert answer.status != 200 or _md5(answer.body) == answer.etag, "the bytes are not those of the ETag"
                continue
            assert answer.status in (0, 200, 204, 500, 503), answer
            version = (answer.headers or {}).get("x-amz-version-id", "")
            etag = _md5(body) if method == "PUT" else ""
            self.writes.append(Write(bucket, key, etag, version, begun, ended, answer.status in (200, 204)))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def survive(room: Path, seconds: float, count: int, seed: int, *, spares: int = 0) -> Sequence[Write]:
    """Let clients write under faults, check what is left, and give what they wrote; AssertionError at a violation."""

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begun:7.2f} {text}", flush=True)  # noqa: T201 (a command)

    begun = time.monotonic()
    policies = (MapPolicy(name="all", write="one"),)
    async with Cloud(room, count, spares=spares, policies=policies) as cloud, Client(seconds=8.0) as client:
        first = next(iter(cloud.nodes.values()))
        for bucket in (VERSIONED, PLAIN):
            assert (await client.call(first, "PUT", f"/{bucket}")).status == 200
        made = await client.call(first, "PUT", f"/{VERSIONED}", _ENABLED, query={"versioning": ""})
        assert made.status == 200, made
        writers = Writers(cloud, client, seed)
        director = Director(cloud, tell)
        harm = Faults(cloud, seed, tell)
        work = [harm.run()]
        if spares:
            work.append(Edits(director, cloud, random.Random(f"edits/{seed}"), tell).run())
        others = [asyncio.create_task(job) for job in work]
        directing = asyncio.create_task(director.run())
        try:
            await writers.run(seconds)
            await director.recover(*others)
            await director.settled()
            nodes = [cloud.nodes[node.name] for node in director.map.nodes]
            await _owe_nothing(nodes)
            await _check(client, nodes, writers.writes)
            done = sum(write.acknowledged for write in writers.writes)
            tell(f"{harm.count} faults; {director.changes} changes; {done} of {len(writers.writes)} acknowledged")
        finally:
            (room / "writes.jsonl").write_text("\n".join(json.dumps(asdict(write)) for write in writers.writes))
            await ended(directing, *others)
    return writers.writes


async def _owe_nothing(nodes: Sequence[Node]) -> None:
    """Wait until no node owes anything; dead letters there may not be."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {SECRET}"}) as http:
        while True:
            said = [await _status(http, node) for node in nodes]
            assert not any(status.get("deadLetters", 0) for status in said), said
            if not any(status.get("owed", 1) for status in said):
                return
            assert time.monotonic() < deadline, said
            await asyncio.sleep(0.3)


async def _status(http: aiohttp.ClientSession, node: Node) -> dict[str, Any]:
    try:
        async with http.get(f"http://{node.peer}/v1/status") as answer:
            said: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError):
        return {}
    return said


async def _check(client: Client, nodes: Sequence[Node], writes: Sequence[Write]) -> None:
    chance = random.Random(0)
    listed = [await _versions(client, node) for node in nodes]
    assert all(found == listed[0] for found in listed), "the nodes do not list the same versions"
    for write in writes:
        if write.bucket == VERSIONED and write.acknowledged:
            assert write.version in listed[0], f"acknowledged, and not there: {write}"
            if write.etag:
                query = {"versionId": write.version}
                read = await client.call(chance.choice(nodes), "GET", f"/{VERSIONED}/{write.key}", query=query)
                assert (read.status, _md5(read.body)) == (200, write.etag), f"other bytes than acknowledged: {write}"
    for key in sorted({write.key for write in writes if write.bucket == PLAIN}):
        answers = [await client.call(node, "GET", f"/{PLAIN}/{key}") for node in nodes]
        left = {(answer.status, answer.etag if answer.status == 200 else "") for answer in answers}
        assert len(left) == 1, f"{key}: the nodes do not agree: {left}"
        check_last(key, left.pop()[1], [write for write in writes if (write.bucket, write.key) == (PLAIN, key)])


def check_last(key: str, etag: str, writes: Sequence[Write]) -> None:
    """What is left was written, and no write was begun and acknowledged after all that may have left it had ended."""
    left_by = [write for write in writes if write.etag == etag]
    assert left_by or not etag, f"{key}: nobody wrote {etag}"
    if any(not write.acknowledged for write in left_by):
        return  # it may have come about at any moment since
    last = max((write.ended for write in left_by), default=0.0)
    later = [write for write in writes if write.acknowledged and write.begun > last + _SAME_MOMENT]
    assert not later, f"{key}: {etag or 'nothing'} is left, by {left_by[-1:]}, and later there was {later[-1]}"


async def _versions(client: Client, node: Node) -> frozenset[str]:
    """The ids of all versions and delete markers that a node lists."""
    found: set[str] = set()
    query = {"versions": ""}
    while True:
        answer = await client.call(node, "GET", f"/{VERSIONED}", query=query)
        assert answer.status == 200, answer
        text = answer.body.decode()
        found.update(re.findall(r"<VersionId>([^<]+)</VersionId>", text))
        if "<IsTruncated>true</IsTruncated>" not in text:
            return frozenset(found)
        marks = dict(re.findall(r"<(NextKeyMarker|NextVersionIdMarker)>([^<]*)</", text))
        query = {
            "versions": "",
            "key-marker": marks["NextKeyMarker"],
            "version-id-marker": marks["NextVersionIdMarker"],
        }


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--nodes", type=int, default=5)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options.add_argument("--spares", type=int, default=0, help="so many more nodes come and go, and what they own")
    given = options.parse_args()
    room = Path(tempfile.mkdtemp(prefix="moln-survival-"))
    sys.stdout.write(f"seed {given.seed}, {given.nodes} nodes, {given.seconds:.0f} s, in {room}\n")
    try:
        asyncio.run(survive(room, given.seconds, given.nodes, given.seed, spares=given.spares))
    except AssertionError as error:
        sys.stdout.write(f"{error}\nwrites: {room / 'writes.jsonl'}; again with --seed {given.seed}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
