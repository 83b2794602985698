"""What a page of a listing costs, by how many objects the bucket has and how many nodes the cloud.

    uv run python bench/listing.py [--nodes 1,3,9] [--objects 10000,100000,1000000] [--json FILE]

For each number of nodes: `moln dev` runs the cloud, its bucket grows to each number of objects in turn, and pages of
1,000 are timed at the start, in the middle and at the end. A million puts through S3 would take an hour on nine nodes
that share two cores, so the nodes are stopped, and each owner's store is given the rows that a put of an empty object
left there, by the code that repair installs them with; then the nodes start again with what is on their disks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import servers
import urllib3
from botocore.config import Config

from moln_node.cluster.local import LocalStore
from moln_node.cluster.owners import Owners
from moln_node.store import registers
from moln_node.store.registers import Register, Space
from moln_node.store.steps import replica as steps
from moln_node.store.steps.replica import Outcome, Write
from moln_spec.cloudmap import CloudMap

if TYPE_CHECKING:
    import apsw

    from moln_node.store.registers import Row
    from moln_node.store.transaction import Transaction

_BUCKET = "bench"
_GROUP = 10
_TEMPLATE = "template"
_AT_ONCE = 2000
_PAGE = 1000
_REST_SECONDS = 600.0
_RESTING = 0.05
"""CPU seconds of a node each second that are no work."""


def key(number: int) -> str:
    """The name of an object: ten share what a delimiter cuts off, a thousand what `within` names."""
    return f"{number // _GROUP:08d}/{number % _GROUP}"


def cells(objects: int) -> dict[str, tuple[str, dict[str, Any], bytes, int]]:
    """Each kind of page: the call, what it asks for, and what its answer has so many of."""
    middle, end = key(objects // 2), key(objects - _PAGE - 1)
    within = key(objects // 2)[:6]
    inside = {"Prefix": within}
    return {
        "start": ("list_objects_v2", {}, b"<Key>", _PAGE),
        "middle": ("list_objects_v2", {"StartAfter": middle}, b"<Key>", _PAGE),
        "end": ("list_objects_v2", {"StartAfter": end}, b"<Key>", _PAGE),
        "prefix": ("list_objects_v2", inside, b"<Key>", _PAGE),
        "groups, start": ("list_objects_v2", {"Delimiter": "/"}, b"<CommonPrefixes>", _PAGE),
        "groups, end": ("list_objects_v2", {"Delimiter": "/", "StartAfter": end}, b"<CommonPrefixes>", _PAGE // _GROUP),
        "groups in prefix": ("list_objects_v2", {"Delimiter": "/", **inside}, b"<CommonPrefixes>", _PAGE // _GROUP),
        "versions, start": ("list_object_versions", {}, b"<Version>", _PAGE),
        "versions, middle": ("list_object_versions", {"KeyMarker": middle}, b"<Version>", _PAGE),
        "versions, end": ("list_object_versions", {"KeyMarker": end}, b"<Version>", _PAGE),
    }


def client(server: servers.Server) -> Any:
    """An S3 client of the cloud."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://{server.endpoint.split(',')[0]}",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


async def fill(data: Path, first: int, last: int) -> None:
    """Give the stores of nodes that do not run the objects from `first` on, below `last`."""
    cloud_map = CloudMap.model_validate_json((data / "map.json").read_text())
    owners = Owners(cloud_map)
    row: Row | None = None
    for name in sorted(owners.everyone, key=lambda name: name not in owners.of_key(_BUCKET, _TEMPLATE).owners):
        local = await LocalStore.start(data / "nodes" / name, cloud_map, name)
        try:
            row = row or await _template(local)
            if row is None:
                raise RuntimeError(f"{name} owns {_TEMPLATE} and does not have it")
            await _fill(local, owners, row, name, first, last)
        finally:
            await local.close()


async def _template(local: LocalStore) -> Row | None:
    """The row of the object that was put through S3."""
    bucket = local.store.buckets[_BUCKET]

    def find(db: apsw.Connection) -> Row | None:
        return next(iter(registers.state(db, bucket.id, _TEMPLATE.encode(), None, 1).rows), None)

    return await local.store.look(find)


async def _fill(local: LocalStore, owners: Owners, row: Row, name: str, first: int, last: int) -> None:
    bucket = local.store.buckets[_BUCKET]
    alone = len(owners.everyone) == 1
    for start in range(first, last, _AT_ONCE):
        named = (key(number) for number in range(start, min(last, start + _AT_ONCE)))
        batch = [Register(Space.OBJECTS, one, _BUCKET, bucket.incarnation) for one in named]
        mine = [one for one in batch if name in owners.of(one).owners]

        def install(tx: Transaction, mine: list[Register] = mine) -> None:
            for one in mine:
                vote = steps.install(tx, one, [Write(row)], alone=alone)
                if vote.outcome != Outcome.DONE:
                    raise RuntimeError(f"{one.key} could not be installed: {vote.outcome}")

        await local.store.commit(install)


def prepare(folder: Path, nodes: int) -> None:
    """Make the bucket, and put one empty object through S3: all others are as it is."""
    server = servers.start_moln(folder, nodes=nodes)
    try:
        s3 = client(server)
        s3.create_bucket(Bucket=_BUCKET)
        s3.put_object(Bucket=_BUCKET, Key=_TEMPLATE, Body=b"")
        settle(server)  # by then every node has the bucket, and every owner the object
    finally:
        server.stop()


def settle(server: servers.Server) -> None:
    """Wait until the nodes rest: after a start they look through what they hold, beside their requests."""
    end = time.monotonic() + _REST_SECONDS
    while time.monotonic() < end:
        before = server.cpu_seconds()
        time.sleep(1)
        if server.cpu_seconds() - before < len(server.pids) * _RESTING:
            return
    print("the nodes are still busy with themselves: CPU times are too high", flush=True)


def measure(server: servers.Server, objects: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each kind of page, in the middle of so many rounds, and of CPU time of all nodes for one."""
    s3, http = client(server), urllib3.PoolManager()
    found = {}
    for name, (call, asks, counted, amount) in cells(objects).items():
        times = []
        before = server.cpu_seconds()
        for _ in range(rounds):
            url = s3.generate_presigned_url(call, Params={"Bucket": _BUCKET, **asks})
            begin = time.perf_counter()
            answer = http.request("GET", url)
            times.append(1000 * (time.perf_counter() - begin))
            if answer.status != 200 or answer.data.count(counted) != amount:
                raise SystemExit(f"{name}: {answer.status} with {answer.data.count(counted)} of {amount}")
        cpu = 1000 * (server.cpu_seconds() - before) / rounds
        found[name] = {"ms": statistics.median(times), "cpu_ms": cpu}
    return found


def main() -> None:
    """Parse the command line, fill and measure, print a table for each number of nodes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="1,3,9")
    parser.add_argument("--objects", default="10000,100000,1000000", help="ascending, at least 2000 each")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data", type=Path, help="folder on the disk to measure")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    amounts = [int(one) for one in arguments.objects.split(",")]
    results: dict[int, dict[int, dict[str, dict[str, float]]]] = {}
    for nodes in map(int, arguments.nodes.split(",")):
        results[nodes] = {}
        with tempfile.TemporaryDirectory(prefix="moln-listing-", dir=arguments.data) as temporary:
            folder = Path(temporary)
            prepare(folder, nodes)
            done = 0
            for objects in amounts:
                begin = time.perf_counter()
                asyncio.run(fill(folder / "data", done, objects))
                done = objects
                print(f"{nodes} nodes, {objects} objects: filled in {time.perf_counter() - begin:.0f} s", flush=True)
                server = servers.start_moln(folder, nodes=nodes)
                try:
                    settle(server)
                    results[nodes][objects] = measure(server, objects, arguments.rounds)
                finally:
                    server.stop()
        print(f"\n{f'ms a page, {nodes} nodes':22}" + "".join(f"{one:>12,}{'cpu':>8}" for one in amounts))
        for name in cells(amounts[-1]):
            figures = [results[nodes][objects][name] for objects in amounts]
            print(f"{name:22}" + "".join(f"{one['ms']:12.1f}{one['cpu_ms']:8.1f}" for one in figures), flush=True)
        print(flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
