"""Scrubbing: a node reads back its disk by itself, slowly, goes on where it was, and forgets no verdict."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from tests.cluster.test_repair import agree, spoil, three
from tests.cluster.test_repair import put as put_in_room
from tests.node.store.harness import BUCKET, LARGE, SMALL, Node, Notes, put, running, with_bucket

from moln_node.cluster import maintenance, scrubbing
from moln_node.cluster.scrubbing import EACH, FASTEST, SLOWEST, Scrubbing, pace
from moln_node.store import lookup
from moln_node.store.registers import Register
from moln_node.store.scrub import Counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_DAY = 24 * 3600


@pytest.mark.parametrize(
    ("size", "things", "days", "expected"),
    [
        (0, 0, 14, SLOWEST),
        (10 * 2**40, 0, 14, 10 * 2**40 / (0.8 * 14 * _DAY)),
        (0, 10**8, 14, 10**8 * EACH / (0.8 * 14 * _DAY)),
        (10**15, 0, 14, FASTEST),
    ],
)
def test_the_pace_spreads_what_is_held_over_the_days(size: int, things: int, days: float, expected: float) -> None:
    """Between bounds; many small things take their time too."""
    assert pace(size, things, days * _DAY) == pytest.approx(expected)


@asynccontextmanager
async def scrubbing_of(own: Scrubbing) -> AsyncIterator[None]:
    """Its round is due now, and it does what a node does by itself."""
    own.state.due_ms = 0
    task = asyncio.create_task(own.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 (a scrub offers no event: nobody waits for it)
            await asyncio.sleep(0.005)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as it can."""
    monkeypatch.setattr(scrubbing, "SLOWEST", 1e12)
    monkeypatch.setattr(scrubbing, "FASTEST", 1e12)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty things a second; how far it is, is kept at each of them."""
    monkeypatch.setattr(scrubbing, "FASTEST", 50 * EACH)
    monkeypatch.setattr(scrubbing, "SLOWEST", 50 * EACH)
    monkeypatch.setattr(scrubbing, "_KEEP_SECONDS", 0)


@pytest.mark.usefixtures("hurried")
async def test_what_nobody_reads_is_read_and_healed_by_itself(tmp_path: Path) -> None:
    """A body that rots on one disk is whole again there, and nobody asked for it."""
    async with three(tmp_path) as (clusters, where):
        await put_in_room(clusters[0], "cold", b"many" * 50_000)
        await agree(clusters, Register(where.space, "cold", where.bucket, where.incarnation))
        cluster = clusters[2]
        store = cluster.members.own.store
        number = store.buckets["room"].id
        _, document = await store.look(lambda db: lookup.newest(db, number, b"cold"))  # type: ignore[misc]
        spoil(store.bodies.path(document.segments[0].id))
        own = cluster.scrubbing
        async with scrubbing_of(own):
            await until(lambda: own.state.ended_ms is not None)
        assert (own.state.last.bad, own.state.last.healed, own.state.unhealed) == (1, 1, 0)
        assert own.state.due_ms > own.state.ended_ms + 10 * _DAY * 1000  # type: ignore[operator]
        report = Notes()
        await maintenance.scrub(cluster, report)
        assert report.counts["bad"] == 0


async def fill(node: Node, count: int) -> None:
    """Objects in the index and in files."""
    for number in range(count):
        await put(node, f"{number:03}", bytes([number]) * (LARGE if number % 2 else SMALL))


@pytest.mark.usefixtures("slow")
async def test_a_node_that_starts_again_goes_on_where_it_was(tmp_path: Path) -> None:
    """Each record and each body is read once in a round, over three lives of the node."""
    whole = Notes()
    async with with_bucket(tmp_path) as node:
        await fill(node, 20)
        await maintenance.scrub(node.cluster, whole)
        async with scrubbing_of(node.cluster.scrubbing):
            await until(lambda: node.cluster.scrubbing.state.mark.counts.records >= 8)
        begun = node.cluster.scrubbing.state.begun_ms
    async with running(tmp_path) as node:
        assert node.cluster.scrubbing.state.begun_ms == begun
        assert node.cluster.scrubbing.state.mark.counts.records >= 7  # the last one may not be kept yet
        await until(lambda: node.cluster.scrubbing.state.mark.counts.bodies >= 4)
    async with running(tmp_path) as node:
        own = node.cluster.scrubbing
        assert own.state.begun_ms == begun
        assert own.state.mark.counts.bodies >= 3
        first_end = own.state.ended_ms
        await until(lambda: own.state.begun_ms is None)
        assert own.state.ended_ms != first_end
        counts = own.state.last
        assert {name: getattr(counts, name) for name in whole.counts} == whole.counts
        assert counts.bytes == 10 * (LARGE + SMALL)


async def test_the_verdict_survives_a_restart_until_a_full_scrub_finds_it_gone(tmp_path: Path) -> None:
    """What could not be healed is known to the node that starts again; one that sees less takes nothing back."""
    async with with_bucket(tmp_path) as node:
        await put(node, "rotten", b"a" * LARGE)
        number = node.store.buckets[BUCKET].id
        _, document = await node.store.look(lambda db: lookup.newest(db, number, b"rotten"))  # type: ignore[misc]
        spoil(node.store.bodies.path(document.segments[0].id))
        await maintenance.scrub(node.cluster, Notes())
        assert node.cluster.scrubbing.state.unhealed == 1
    async with running(tmp_path) as node:
        own = node.cluster.scrubbing
        assert (own.state.last.bad, own.state.unhealed) == (1, 1)
        await maintenance.scrub(node.cluster, Notes(), mode="light")
        assert own.state.unhealed == 1
        await node.delete(BUCKET, "rotten", None)
        await maintenance.scrub(node.cluster, Notes())
        assert (own.state.last.bad, own.state.unhealed) == (0, 0)


async def test_what_a_part_of_the_disk_showed_counts_until_the_next_full_scrub(tmp_path: Path) -> None:
    """A sampled scrub that could not heal is a verdict too, and is kept."""
    async with with_bucket(tmp_path) as node:
        await put(node, "rotten", b"a" * LARGE)
        number = node.store.buckets[BUCKET].id
        _, document = await node.store.look(lambda db: lookup.newest(db, number, b"rotten"))  # type: ignore[misc]
        node.store.bodies.path(document.segments[0].id).unlink()
        await maintenance.scrub(node.cluster, Notes(), mode="light")
    async with running(tmp_path) as node:
        assert (node.cluster.scrubbing.state.last, node.cluster.scrubbing.state.unhealed) == (Counts(), 1)


@pytest.mark.usefixtures("slow")
async def test_a_full_scrub_by_hand_takes_the_place_of_the_round(tmp_path: Path) -> None:
    """The round rests while it goes, and does not read all of it again; a light one lets it go on."""
    async with with_bucket(tmp_path) as node:
        await fill(node, 20)
        own = node.cluster.scrubbing
        async with scrubbing_of(own):
            await until(lambda: own.state.mark.counts.records >= 3)
            begun, far = own.state.begun_ms, own.state.mark.counts.records
            await maintenance.scrub(node.cluster, Notes(), mode="light")
            assert own.state.begun_ms == begun
            await until(lambda: own.state.mark.counts.records > far)
            await maintenance.scrub(node.cluster, Notes())
            await asyncio.sleep(0.1)
            assert (own.state.begun_ms, own.state.last.records) == (None, 21)  # the bucket has a record too


async def test_a_node_that_is_not_to_scrub_by_itself_does_not(tmp_path: Path) -> None:
    """With 0 days there are no rounds."""
    async with with_bucket(tmp_path) as node:
        own = Scrubbing(node.store, node.cluster.repair, 0)
        await own.begin()
        async with asyncio.timeout(5):
            await own.run()


async def test_nodes_do_not_begin_together(tmp_path: Path) -> None:
    """The first rounds begin at moments of their own, within the first tenth of the days."""
    async with three(tmp_path) as (clusters, _):
        moments = [cluster.scrubbing.state.due_ms for cluster in clusters]
        assert len(set(moments)) == 3
        assert max(moments) - min(moments) < 1.5 * _DAY * 1000
