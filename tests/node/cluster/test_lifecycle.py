"""What lifecycle rules mean, as pure functions, and the sweep that carries them out on a real store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.node.store.harness import running

from moln_node.cluster import expiry, lifecycle
from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.lifecycle import DAY_MS, Expiry, Filter, Lifecycle, Rule
from moln_node.store.model import Attributes, Bucket, Kind, Record, Sealed, Upload, Versioning
from moln_spec.version import Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.node.store.harness import Node

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2
ETAG = "0" * 32


def record(
    key: str = "k", age: float = 0, *, size: int = 10, kind: Kind = Kind.OBJECT, tags: dict[str, str] | None = None
) -> Record:
    """A version that was written `age` days before noon."""
    modified = NOON_MS - round(age * DAY_MS)
    attributes = Attributes("owner", tags=tags or {})
    return Record("b", key, Version(modified << 16, 0), False, kind, modified, attributes, size=size, etag=ETAG)


def rule(**fields: object) -> Rule:
    """An enabled rule."""
    return Rule.model_validate({"id": "r", "enabled": True, **fields})


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Filter(), True),
        (Filter(prefix="a/"), True),
        (Filter(prefix="b/"), False),
        (Filter(prefix="A/"), False),
        (Filter(tags={"t": "1"}), True),
        (Filter(tags={"t": "2"}), False),
        (Filter(tags={"t": "1", "u": "1"}), False),
        (Filter(larger_than=9), True),
        (Filter(larger_than=10), False),
        (Filter(smaller_than=11), True),
        (Filter(smaller_than=10), False),
        (Filter(prefix="a/", tags={"t": "1"}, larger_than=9, smaller_than=11), True),
    ],
)
def test_filters(wanted: Filter, *, taken: bool) -> None:
    """Prefix, tags and sizes must all hold; sizes are exclusive."""
    version = record("a/k", size=10, tags={"t": "1"})
    assert lifecycle.applies(rule(filter=wanted), version) is taken
    assert not lifecycle.applies(Rule(id="off", enabled=False, filter=wanted), version)


def test_a_clock_that_was_behind_ages_nothing() -> None:
    """A machine without a clock of its own writes before it has heard the time: the version says when it was."""
    fresh = replace(record(age=0), modified_ms=10_000)
    assert lifecycle.due([rule(expire_days=30)], [fresh], NOON_MS) == []
    old = replace(record(age=1), modified_ms=10_000)
    assert lifecycle.due([rule(noncurrent_days=30)], [fresh, old], NOON_MS) == []
    assert lifecycle.due([rule(expire_days=30)], [fresh], NOON_MS + 31 * DAY_MS) == [fresh]


def test_ages_are_rounded_up_to_midnight() -> None:
    """An object of noon with one day goes at the second midnight after; the earliest of several rules decides."""
    midnight = NOON_MS + DAY_MS // 2
    assert lifecycle.expiry_of([rule(expire_days=1)], record()) == Expiry(midnight + DAY_MS, "r")
    assert lifecycle.midnight_after(midnight, 1) == midnight + DAY_MS
    first = Rule(id="first", enabled=True, expire_date_ms=midnight)
    assert lifecycle.expiry_of([rule(expire_days=1), first], record()) == Expiry(midnight, "first")
    assert lifecycle.expiry_of([rule(noncurrent_days=1)], record()) is None


def test_what_is_due_of_a_keys_versions() -> None:
    """Current by age or date, noncurrent by the time they were replaced, markers when nothing is behind them."""
    old, older, oldest = record(age=5), record(age=6), record(age=20)
    marker = record(age=5, kind=Kind.DELETE_MARKER)
    due = lifecycle.due
    assert due([rule(expire_days=3)], [old], NOON_MS) == [old]
    assert due([rule(expire_days=5)], [old], NOON_MS) == []
    assert due([rule(expire_days=3)], [old, older], NOON_MS) == [old]
    assert due([rule(noncurrent_days=4)], [old, older, oldest], NOON_MS) == [older, oldest]
    assert due([rule(noncurrent_days=5)], [old, older, oldest], NOON_MS) == [oldest]
    assert due([rule(noncurrent_days=1, newer_noncurrent=1)], [old, older, oldest], NOON_MS) == [oldest]
    assert due([rule(expire_delete_markers=True)], [marker], NOON_MS) == [marker]
    assert due([rule(expire_delete_markers=True)], [marker, oldest], NOON_MS) == []
    assert due([rule(expire_days=1)], [marker], NOON_MS) == [marker]
    assert due([rule(expire_days=9)], [marker], NOON_MS) == []
    assert due([rule(expire_days=1)], [], NOON_MS) == []


def test_uploads_are_abandoned_by_their_start() -> None:
    """By prefix and days."""
    upload = Upload("u", "b", "a/k", NOON_MS - 3 * DAY_MS, Attributes("owner"), "STANDARD")
    assert lifecycle.is_abandoned([rule(abort_days=2)], upload, NOON_MS)
    assert not lifecycle.is_abandoned([rule(abort_days=3)], upload, NOON_MS)
    assert not lifecycle.is_abandoned([rule(abort_days=1, filter=Filter(prefix="b"))], upload, NOON_MS)


def test_only_the_prefixes_of_rules_are_walked() -> None:
    """Nested prefixes are walked once, those of disabled rules not at all."""
    rules = [rule(filter=Filter(prefix=prefix)) for prefix in ("a/b", "a/", "c", "a/", "ca")]
    assert lifecycle.prefixes([*rules, Rule(id="off", enabled=False)]) == ("a/", "c")
    assert lifecycle.prefixes([rule()]) == ("",)


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[Node]:
    """A real store with an empty bucket `b`."""
    async with running(tmp_path) as opened:
        await opened.create_bucket(Bucket("b", "owner", 0))
        yield opened


async def put(objects: Node, key: str, content: bytes = b"x") -> Record:
    """Write an object."""

    async def body() -> AsyncIterator[bytes]:
        yield content

    async def seal() -> Sealed:
        return Sealed(content.hex().ljust(32, "0"))

    written: Record = await objects.put("b", key, Attributes("owner"), body(), size=len(content), seal=seal)
    return written


async def configure(objects: Node, *rules: Rule) -> None:
    """Give bucket `b` these rules."""
    document = Lifecycle(rules=rules).model_dump_json(exclude_none=True)
    assert lifecycle.read(document).rules == rules
    await objects.set_bucket("b", settings={lifecycle.SETTING: document})


async def keys(objects: Node) -> list[str]:
    """What a client would list."""
    return [entry.key for entry in (await objects.list_objects("b")).records]


async def test_a_sweep_removes_what_is_due(objects: Node) -> None:
    """By prefix and age; nothing before its time, and nothing of a bucket without rules."""
    for key in ("a/1", "a/2", "b/1"):
        await put(objects, key)
    written = (await objects.head("b", "a/1")).modified_ms
    assert (await expiry.sweep(objects, written + 99 * DAY_MS)).versions == 0
    await configure(objects, rule(filter=Filter(prefix="a/"), expire_days=2))
    assert (await expiry.sweep(objects, written + DAY_MS)).versions == 0
    swept = await expiry.sweep(objects, written + 4 * DAY_MS)
    assert (swept.versions, swept.failed) == (2, 0)
    assert await keys(objects) == ["b/1"]


async def test_a_sweep_of_versions(objects: Node) -> None:
    """Current versions get a marker, noncurrent ones go for good, and a left-over marker goes at last."""
    await objects.set_bucket("b", versioning=Versioning.ENABLED)
    for content in (b"1", b"2", b"3"):
        newest = await put(objects, "k", content)
    later = newest.modified_ms + 9 * DAY_MS
    await configure(objects, rule(noncurrent_days=1, newer_noncurrent=1))
    assert (await expiry.sweep(objects, later)).versions == 1
    left = (await objects.list_versions("b")).records
    assert [version.etag[:2] for version in left] == ["33", "32"]
    await configure(objects, rule(expire_days=1))
    assert (await expiry.sweep(objects, later)).versions == 1
    assert await keys(objects) == []
    left = (await objects.list_versions("b")).records
    assert [version.kind for version in left] == [Kind.DELETE_MARKER, Kind.OBJECT, Kind.OBJECT]
    await configure(objects, rule(noncurrent_days=1), rule(id="m", expire_delete_markers=True))
    await expiry.sweep(objects, left[0].modified_ms + 9 * DAY_MS)
    await expiry.sweep(objects, left[0].modified_ms + 9 * DAY_MS)
    assert (await objects.list_versions("b")).records == ()


async def test_a_sweep_aborts_abandoned_uploads(objects: Node) -> None:
    """Uploads under the rule's prefix that began long enough ago."""
    upload = await objects.create_upload("b", "a/k", Attributes("owner"))
    await objects.create_upload("b", "b/k", Attributes("owner"))
    await configure(objects, rule(filter=Filter(prefix="a/"), abort_days=1))
    assert (await expiry.sweep(objects, upload.started_ms)).uploads == 0
    assert (await expiry.sweep(objects, upload.started_ms + 3 * DAY_MS)).uploads == 1
    assert [left.key for left in (await objects.uploads("b")).uploads] == ["b/k"]


async def test_what_is_written_meanwhile_is_left_alone(objects: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a client writes between the judgement and the delete keeps its new object."""
    old = await put(objects, "k", b"old")
    await configure(objects, rule(expire_days=1))
    delete = objects.delete

    async def overtaken(*args: object, **kwargs: object) -> object:
        await put(objects, "k", b"new")
        return await delete(*args, **kwargs)

    monkeypatch.setattr(objects, "delete", overtaken)
    swept = await expiry.sweep(objects, old.modified_ms + 9 * DAY_MS)
    assert (swept.versions, swept.failed) == (0, 0)
    assert (await objects.head("b", "k")).etag.startswith(b"new".hex())


async def test_a_sweep_that_fails_is_tried_again_soon(objects: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before the nodes of a cloud find each other; the next one that ends well is an interval away."""
    ended = asyncio.Event()
    tries = 0

    async def sweep(*_: object) -> expiry.Swept:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise UnavailableError("too few nodes can be reached")
        ended.set()
        return expiry.Swept()

    monkeypatch.setattr(expiry, "sweep", sweep)
    monkeypatch.setattr(expiry, "_RETRY_S", 0.01)
    ends = 0

    async def ours() -> bool:
        return True

    async def noon() -> int:
        return NOON_MS

    def end() -> None:
        nonlocal ends
        ends += 1

    running = asyncio.create_task(expiry.run(objects, ours, noon, ended=end))
    async with asyncio.timeout(10):
        await ended.wait()
    await asyncio.sleep(0.05)
    running.cancel()
    assert (tries, ends) == (2, 1)
