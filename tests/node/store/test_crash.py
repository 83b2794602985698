"""What was acknowledged is there after kill -9 and after a power cut, bit for bit; what was not is whole or absent.

A real process writes (`crash_writer`), is killed or loses its disk at random moments, and what is left is opened and
compared with what it had told. MOLN_CRASH_CYCLES sets how often (20), MOLN_CRASH_SEED where chance begins.
"""

from __future__ import annotations

import asyncio
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from tests.node.store.crash_writer import content
from tests.node.store.harness import BUCKET, Notes, etag, files, get, put, running

from moln_lab.disk import PowerCutDisk
from moln_node.cluster import maintenance

if TYPE_CHECKING:
    from collections.abc import Iterator

CYCLES = int(os.environ.get("MOLN_CRASH_CYCLES", "20"))
pytestmark = [pytest.mark.crash, pytest.mark.timeout(max(1800, 10 * CYCLES))]
SEED = int(os.environ.get("MOLN_CRASH_SEED", "0")) or random.randrange(1, 10**9)
ROOT = Path(__file__).parents[3]
ABSENT = "-"


class Story:
    """What the writer told: every intent and acknowledgement, in order."""

    def __init__(self, known: dict[str, str]) -> None:
        self._start = known
        self._events: list[tuple[str, str, str]] = []
        self._rest = b""

    def hear(self, data: bytes) -> None:
        """Take what came through the pipe."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, _, tail = line.decode().partition(" ")
            key, _, state = tail.partition(" ")
            if kind in ("I", "A"):
                self._events.append((kind, key, state))

    def __len__(self) -> int:
        return len(self._events)

    def allowed(self, moment: int) -> dict[str, set[str]]:
        """What each key may be, if what was told up to `moment` is what was told before the end.

        The last acknowledged state, or any state intended after that, be it after the moment.
        """
        states = {key: {state} for key, state in self._start.items()}
        intent: dict[str, str] = {}
        for number, (kind, key, state) in enumerate(self._events):
            if kind == "I":
                intent[key] = state
                states.setdefault(key, {ABSENT}).add(state)
            elif number < moment:
                states[key] = {intent[key]}
        return states


@contextmanager
def writing(directory: Path, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """The writer, at work; killed at the end."""
    command = [sys.executable, "-m", "tests.node.store.crash_writer", str(directory), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"READY\n"
            os.set_blocking(process.stdout.fileno(), False)
            yield process
        finally:
            process.kill()


def listen(pipe: IO[bytes] | None, story: Story, until: float) -> None:
    """Hear the writer until that moment (of time.monotonic)."""
    assert pipe is not None
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if selector.select(left):
                data = os.read(pipe.fileno(), 1 << 16)
                assert data, "the writer ended by itself"
                story.hear(data)


def hear_the_rest(process: subprocess.Popen[bytes], story: Story) -> None:
    """Kill the writer, and take what it had told by then."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), True)
    story.hear(process.stdout.read())


async def check(directory: Path, allowed: dict[str, set[str]]) -> dict[str, str]:
    """Compare a store with what it may hold, and its accounts with what it does hold; the state of every key."""
    async with running(directory) as objects:
        states: dict[str, str] = {}
        size = 0
        records = (await objects.list_objects(BUCKET)).records
        for record in records:
            candidates = [s for s in allowed.get(record.key, ()) if s != ABSENT]
            data = await get(objects, record.key)
            matching = [s for s in candidates if data == content(*map(int, s.split(":")))]
            assert matching, (
                f"{record.key} holds {len(data)} bytes that were never written; {candidates} were (seed {SEED})"
            )
            assert record.etag == etag(data)
            states[record.key] = matching[0]
            size += len(data)
        for key, possible in allowed.items():
            assert key in states or ABSENT in possible, f"{key} is gone, {possible} acknowledged (seed {SEED})"
        notes = Notes()
        await maintenance.scrub(objects.cluster, notes)
        assert notes.findings == [], f"MOLN_CRASH_SEED={SEED}"
        usage = await objects.bucket_usage(BUCKET)
        assert (usage.objects, usage.bytes) == (len(records), size)
        for upload in (await objects.uploads(BUCKET)).uploads:
            await objects.abort_upload(BUCKET, upload.key, upload.id)
        orphans = Notes()
        await maintenance.orphans(objects.local, orphans)
        assert orphans.findings == [], f"opening removes what a crash left (seed {SEED})"
        await objects.store.collect()
        bodies = await objects.store.look(lambda db: db.execute("SELECT id FROM body").fetchall())
        assert len(files(directory)) == len(bodies), "a file without a row, or a row without a file"
        await put(objects, "after", b"the store still works")
        await objects.delete(BUCKET, "after")
    return {key: states.get(key, ABSENT) for key in allowed}


def test_kill_9_at_random_moments() -> None:
    """Cycle after cycle on one store: killed, opened, compared, and written on."""
    chance = random.Random(SEED)
    acknowledged = 0
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        known: dict[str, str] = {}
        for cycle in range(CYCLES):
            story = Story(known)
            with writing(data, SEED + cycle) as process:
                listen(process.stdout, story, time.monotonic() + chance.uniform(0.01, 1.0))
                hear_the_rest(process, story)
            acknowledged += len(story) // 2
            known = asyncio.run(check(data, story.allowed(len(story))))
    assert acknowledged > CYCLES, "the writers wrote too little for this to mean anything"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.xfs") is None or not Path("/dev/loop-control").exists(),
    reason="needs root, loop devices and xfsprogs",
)
def test_power_cuts_under_load() -> None:
    """The power is cut several times while the writer is at work; after each cut, what was acknowledged is there."""
    chance = random.Random(SEED)
    acknowledged = 0
    with tempfile.TemporaryDirectory() as directory, PowerCutDisk(Path(directory), 1 << 30) as disk:
        data = disk.mount / "data"
        known: dict[str, str] = {}
        for cycle in range(max(1, CYCLES // 4)):
            story = Story(known)
            cuts = []
            with writing(data, SEED + cycle) as process:
                for _ in range(4):
                    listen(process.stdout, story, time.monotonic() + chance.uniform(0.05, 0.7))
                    cuts.append((len(story), disk.cut()))
                hear_the_rest(process, story)
            for moment, cut in cuts:
                disk.restore(cut)
                known = asyncio.run(check(data, story.allowed(moment)))
                acknowledged += moment // 2
    assert acknowledged > CYCLES, "the writers wrote too little for this to mean anything"
