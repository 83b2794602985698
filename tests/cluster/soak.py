"""Run a cloud under faults and clients, and check the history: `python -m tests.cluster.soak --seconds 60 --seed 1`.

Exits with 1 at the first violation and says where the history is. The same seed does the same things, as far as the
machine's timing lets it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.client import Client
from tests.cluster.director import Director, Edits, ended
from tests.cluster.faults import Faults
from tests.cluster.history import Clients, History
from tests.cluster.nodes import Cloud, Node

from moln_spec.cloudmap import BodyPlace

_ROUND_SECONDS = 2.5
_CLIENTS = 8
_DISK_MEBIBYTES = 256
_CONVERGE_SECONDS = 60.0
BUCKET = "soak"


def clocks(seed: int, count: int) -> dict[str, dict[str, str]]:
    """Every other node's clock is wrong, by up to a minute."""
    chance = random.Random(f"clocks/{seed}")
    return {
        f"n{number}": {"MOLN_TEST_CLOCK_SKEW_MS": str(chance.choice((0, chance.randint(-60_000, 60_000))))}
        for number in range(count)
    }


async def soak(
    room: Path,
    seconds: float,
    count: int,
    seed: int,
    *,
    faults: bool = True,
    disks: bool = False,
    spares: int = 0,
    apart: bool = False,
    harsh: bool = False,
) -> History:
    """Let clients work under faults; the history, when all nodes agree again about every key.

    With `spares` nodes come and go all the time, and weights and copies change: any of all these may be in the cloud.
    With `harsh` clocks jump, disks are full, and bits of one of them flip; it needs root.
    With `apart` bodies are apart from their records, on the last three nodes, and go soon after nothing names them.
    """

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begun:7.2f} {text}", flush=True)  # noqa: T201 (a command)

    begun = time.monotonic()
    history = History(room / "history.jsonl")
    pools = tuple(f"n{number}" for number in range(count))[-3:]
    places = (BodyPlace(name="STANDARD", pools=pools),) if apart else ()
    module = "tests.cluster.hurried" if apart else "moln_node"
    async with Cloud(
        room,
        count,
        clocks(seed, count + spares),
        spares=spares,
        places=places,
        module=module,
        disk_mebibytes=_DISK_MEBIBYTES if harsh else 0,
    ) as cloud:
        director = Director(cloud, tell)
        directing = asyncio.create_task(director.run()) if spares else None
        client = Client(seconds=8.0)
        try:
            nodes = list(cloud.nodes.values())
            made = await client.call(nodes[0], "PUT", f"/{BUCKET}")
            assert made.status == 200, made
            clients = Clients(cloud, client, history, BUCKET, seed)
            harm = Faults(cloud, seed, tell, disks=disks, harsh=harsh)
            harming = asyncio.create_task(harm.run() if faults else asyncio.sleep(seconds))
            fewest = 2 if harsh else 1  # bits flip on one disk, and that shall not be the only one that has them
            edits = Edits(director, cloud, random.Random(f"edits/{seed}"), tell, apart=apart, fewest_pools=fewest)
            editing = asyncio.create_task(edits.run() if spares else asyncio.sleep(seconds))
            working = asyncio.create_task(clients.run(_CLIENTS, seconds))
            while not working.done():
                await asyncio.wait({working}, timeout=_ROUND_SECONDS)
                clients.round += 1
                for task in (harming, editing, directing):
                    if task is not None and task.done() and (faults or task is not harming):
                        task.result()
            await working
            await director.recover(harming, editing)
            if directing is not None:
                await director.settled()
            nodes = [cloud.nodes[node.name] for node in director.map.nodes]
            await _agree(client, nodes, clients.used)
            tell(f"{harm.count} faults; {director.changes} changes; {history.counts}")
        finally:
            if directing is not None:
                await ended(directing)
            history.close()
            await client.close()
    return history


async def _agree(client: Client, nodes: list[Node], keys: set[str]) -> None:
    """Every node must answer alike about every key, and list exactly what is there."""
    deadline = time.monotonic() + _CONVERGE_SECONDS
    while True:
        states = [await _state(client, node, keys) for node in nodes]
        if states[0] is not None and all(state == states[0] for state in states):
            return
        assert time.monotonic() < deadline, f"the nodes, or their lists and reads, do not agree: {states}"
        await asyncio.sleep(0.5)


async def _state(client: Client, node: Node, keys: set[str]) -> dict[str, str] | None:
    """What one node says of every key; None while it can't, or while a write of unknown outcome still lands."""
    found = {}
    for key in sorted(keys):
        answer = await client.call(node, "GET", f"/{BUCKET}/{key}")
        if answer.status not in (200, 404):
            return None
        if answer.status == 200:
            found[key] = answer.etag
    listing = await client.call(node, "GET", f"/{BUCKET}", query={"list-type": "2"})
    if listing.status != 200:
        return None
    text = listing.body.decode()
    etags = [etag.strip('"').replace("&quot;", "") for etag in re.findall(r"<ETag>([^<]*)</ETag>", text)]
    listed = dict(zip(re.findall(r"<Key>([^<]*)</Key>", text), etags, strict=True))
    return found if listed == found else None


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--nodes", type=int, default=3)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options.add_argument("--no-faults", action="store_true")
    options.add_argument("--spares", type=int, default=0, help="so many more nodes come and go, and what they own")
    options.add_argument("--apart", action="store_true", help="bodies are apart from their records")
    options.add_argument("--harsh", action="store_true", help="clocks jump, disks are full, bits flip (needs root)")
    options.add_argument("--lose-disks", action="store_true", help="nodes also come back with empty disks (slow)")
    given = options.parse_args()
    room = Path(tempfile.mkdtemp(prefix="moln-soak-"))
    sys.stdout.write(f"seed {given.seed}, {given.nodes} nodes, {given.seconds:.0f} s, in {room}\n")
    history = asyncio.run(
        soak(
            room,
            given.seconds,
            given.nodes,
            given.seed,
            faults=not given.no_faults,
            disks=given.lose_disks,
            spares=given.spares,
            apart=given.apart,
            harsh=given.harsh,
        )
    )
    code, said = history.check()
    sys.stdout.write(said)
    if code:
        sys.stdout.write(f"history: {history.path}; again with --seed {given.seed}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
