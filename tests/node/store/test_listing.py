"""Listings against the plainest thing that could be right: a sorted set, cut into pages by hand."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.node.store.harness import BUCKET, OWNER, Node, cloud_map, put, with_bucket

from moln_node.store.model import Bucket, Kind, Versioning

ALPHABET = "ab/-\n\0é💾"
KEYS = st.text(st.sampled_from(ALPHABET), min_size=1, max_size=5)
AFFIX = st.text(st.sampled_from(ALPHABET), max_size=2)
BOUNDED = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def expected(keys: set[str], prefix: str, delimiter: str, after: str) -> list[tuple[str, bool]]:
    """Every entry of the listing that begins behind `after`, as (text, is a prefix)."""
    entries: dict[str, bool] = {}
    for key in keys:
        if not key.startswith(prefix):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut < 0:
            if key.encode() > after.encode():
                entries[key] = False
            continue
        group = key[: cut + len(delimiter)]
        if group != after and key.encode() > after.encode():
            entries[group] = True
    return sorted(entries.items(), key=lambda entry: (entry[0].encode(), entry[1]))


async def pages(objects: Node, prefix: str, delimiter: str, after: str, limit: int) -> list[tuple[str, bool]]:
    """All pages put together; each within its limit, none empty but the last."""
    found: list[tuple[str, bool]] = []
    position: str | None = after
    while position is not None:
        page = await objects.list_objects(BUCKET, prefix=prefix, delimiter=delimiter, after=position, limit=limit)
        entries = [(r.key, False) for r in page.records] + [(p, True) for p in page.prefixes]
        assert len(entries) <= limit
        assert page.next is None or len(entries) == limit
        found += sorted(entries, key=lambda entry: (entry[0].encode(), entry[1]))
        position = page.next
    return found


@BOUNDED
@given(data=st.data(), keys=st.sets(KEYS, max_size=25), deleted=st.sets(KEYS, max_size=5), versioned=st.booleans())
def test_pages_of_keys_are_the_sorted_set(
    data: st.DataObject, keys: set[str], deleted: set[str], versioned: bool
) -> None:
    """Any keys, prefix, delimiter, start and page size; delete markers hide keys and empty groups."""

    async def check() -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            versioning = Versioning.ENABLED if versioned else Versioning.OFF
            async with with_bucket(Path(directory), versioning) as objects:
                await asyncio.gather(*(put(objects, key, b"") for key in [*keys, *keys]))
                await asyncio.gather(*(objects.delete(BUCKET, key) for key in deleted))
                for _ in range(20):
                    prefix, delimiter = data.draw(AFFIX), data.draw(AFFIX)
                    after = data.draw(st.one_of(st.just(""), KEYS, st.sampled_from(sorted(keys) or [""])))
                    limit = data.draw(st.integers(1, 8))
                    got = await pages(objects, prefix, delimiter, after, limit)
                    assert got == expected(keys - deleted, prefix, delimiter, after)

    asyncio.run(check())


@BOUNDED
@given(
    data=st.data(),
    writes=st.lists(st.tuples(st.sampled_from(["a", "a/b", "a/c", "b", "é/"]), st.booleans()), max_size=30),
)
def test_pages_of_versions_are_the_history(data: st.DataObject, writes: list[tuple[str, bool]]) -> None:
    """Puts and deletes in any order: pages hold all versions, newest first, once each, with the newest marked."""

    async def check() -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            async with with_bucket(Path(directory), Versioning.ENABLED) as objects:
                history: dict[str, list[tuple[str, Kind]]] = {}
                for key, is_put in writes:
                    if is_put:
                        made = ((await put(objects, key, b"x")).version_id, Kind.OBJECT)
                    else:
                        made = ((await objects.delete(BUCKET, key)).version_id or "", Kind.DELETE_MARKER)
                    history.setdefault(key, []).insert(0, made)
                prefix, delimiter = data.draw(st.sampled_from(["", "a", "a/"])), data.draw(st.sampled_from(["", "/"]))
                limit = data.draw(st.integers(1, 5))
                wanted: list[tuple[str, str, Kind, bool]] = []
                groups: list[str] = []
                for key in sorted(k for k in history if k.startswith(prefix)):
                    cut = key.find(delimiter, len(prefix)) if delimiter else -1
                    if cut < 0:
                        wanted += [(key, v, kind, n == 0) for n, (v, kind) in enumerate(history[key])]
                    elif key[: cut + 1] not in groups:
                        groups.append(key[: cut + 1])
                got: list[tuple[str, str, Kind, bool]] = []
                got_groups: list[str] = []
                key_marker, version_marker = "", None
                while key_marker is not None:
                    page = await objects.list_versions(
                        BUCKET,
                        prefix=prefix,
                        delimiter=delimiter,
                        after_key=key_marker,
                        after_version=version_marker,
                        limit=limit,
                    )
                    assert len(page.records) + len(page.prefixes) <= limit
                    got += [(r.key, r.version_id, r.kind, r.latest) for r in page.records]
                    got_groups += page.prefixes
                    key_marker, version_marker = page.next_key, page.next_version
                assert (got, got_groups) == (wanted, groups)

    asyncio.run(check())


async def test_a_page_goes_on_although_its_marker_was_deleted(tmp_path: Path) -> None:
    """Who deletes each page before asking for the next, as `aws s3 rb --force` does, misses no version."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"null")
        await objects.set_bucket(BUCKET, versioning=Versioning.ENABLED)
        for number in range(7):
            await put(objects, "k" if number % 2 else "l", b"x")
        key: str | None = ""
        version: str | None = None
        while key is not None:
            page = await objects.list_versions(BUCKET, after_key=key, after_version=version, limit=2)
            for record in page.records:
                await objects.delete(BUCKET, record.key, record.version_id)
            key, version = page.next_key, page.next_version
        await objects.delete_bucket(BUCKET)


async def test_a_null_version_marker_is_understood(tmp_path: Path) -> None:
    """Clients that send `null` as version marker, as AWS gives it, go on behind the null version."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "k", b"0")
        await objects.set_bucket(BUCKET, versioning=Versioning.ENABLED)
        await put(objects, "k", b"1")
        await put(objects, "l", b"2")
        page = await objects.list_versions(BUCKET, after_key="k", after_version="null")
        assert [r.key for r in page.records] == ["l"]


async def test_old_versions_do_not_slow_down_or_leak_into_a_listing(tmp_path: Path) -> None:
    """Keys with more old versions than are passed one by one: each key once, the newest."""
    async with with_bucket(tmp_path, Versioning.ENABLED) as objects:
        for key in ("a", "b"):
            for number in range(40):
                await put(objects, key, b"%d" % number)
        page = await objects.list_objects(BUCKET)
        assert [(r.key, r.size) for r in page.records] == [("a", 2), ("b", 2)]


@BOUNDED
@given(
    keys=st.lists(st.sampled_from(["a", "a/b", "a/c", "b"]), max_size=12),
    prefix=st.sampled_from(["", "a", "b", "x"]),
    delimiter=st.sampled_from(["", "/"]),
    limit=st.integers(1, 4),
)
def test_pages_of_uploads(keys: list[str], prefix: str, delimiter: str, limit: int) -> None:
    """Uploads by key, then by start; groups once; pages put together are all of them."""

    async def check() -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
            objects = await Node.start(Path(directory), cloud_map())
            try:
                await objects.create_bucket(Bucket(BUCKET, "o", 1))
                made = [(key, (await objects.create_upload(BUCKET, key, OWNER)).id) for key in keys]
                wanted, groups = [], []
                for key, upload_id in sorted(made):
                    if not key.startswith(prefix):
                        continue
                    cut = key.find(delimiter, len(prefix)) if delimiter else -1
                    if cut < 0:
                        wanted.append((key, upload_id))
                    elif key[: cut + 1] not in groups:
                        groups.append(key[: cut + 1])
                got: list[tuple[str, str]] = []
                got_groups: list[str] = []
                key_marker: str | None = ""
                upload_marker: str | None = ""
                while key_marker is not None:
                    page = await objects.uploads(
                        BUCKET,
                        prefix=prefix,
                        delimiter=delimiter,
                        after_key=key_marker,
                        after_upload=upload_marker or "",
                        limit=limit,
                    )
                    got += [(u.key, u.id) for u in page.uploads]
                    got_groups += page.prefixes
                    key_marker, upload_marker = page.next_key, page.next_upload
                assert (got, got_groups) == (wanted, groups)
            finally:
                await objects.close()

    asyncio.run(check())


@pytest.mark.parametrize("limit", [0, 1])
async def test_a_limit_of_nothing(tmp_path: Path, limit: int) -> None:
    """max-keys 0 is an empty page and no endless paging."""
    async with with_bucket(tmp_path) as objects:
        await put(objects, "a", b"")
        page = await objects.list_objects(BUCKET, limit=limit)
        assert (len(page.records), page.next) == (limit, None)
