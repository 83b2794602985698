"""Deleting a bucket, when others delete it, open it again and write to it at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE, put

from moln_node.cluster.errors import UnavailableError
from moln_node.cluster.listings import Listings
from moln_node.store.errors import BucketNotEmptyError, NoSuchBucketError
from moln_node.store.model import Bucket, Versioning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from moln_node.cluster.buckets import Known


class Slow:
    """What each look into the bucket finds, in turn, is told to its deletion only when that is let go on.

    Attributes:
        looked: set once that deletion has looked.
        go: lets it go on.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deletions: int) -> None:
        self.looked = [asyncio.Event() for _ in range(deletions)]
        self.go = [asyncio.Event() for _ in range(deletions)]
        turns = iter(range(deletions))
        really = Listings.is_empty

        async def is_empty(listings: Listings, known: Known, among: frozenset[str]) -> bool:
            turn = next(turns)
            found = await really(listings, known, among)
            self.looked[turn].set()
            await self.go[turn].wait()
            return found

        monkeypatch.setattr(Listings, "is_empty", is_empty)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Slow]:
    """Make deletions of buckets wait after they have looked."""
    return lambda deletions: Slow(monkeypatch, deletions)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_delete_goes_by_its_own_closing_alone(tmp_path: Path, slow: Callable[[int], Slow], count: int) -> None:
    """It found the bucket empty; since then another one failed and opened it, a put was acknowledged, and a third one
    closed it again: that closing is not the one under which it was empty."""  # noqa: D205, D209
    async with running(tmp_path, count, LIKE) as clusters:
        first, other = clusters[0].objects, clusters[-1].objects
        await first.create_bucket(Bucket("room", "me", 1))
        waits = slow(3)
        found_empty = asyncio.create_task(first.delete_bucket("room"))
        await waits.looked[0].wait()
        failing = asyncio.create_task(other.delete_bucket("room"))
        await waits.looked[1].wait()
        failing.cancel()  # its client went away: the bucket takes writes again
        await asyncio.wait([failing])
        await put(clusters[-1], "photo", b"acknowledged")
        again = asyncio.create_task(other.delete_bucket("room"))
        await waits.looked[2].wait()
        waits.go[0].set()
        with pytest.raises(UnavailableError, match="closed by another request"):
            await found_empty
        waits.go[2].set()
        with pytest.raises(BucketNotEmptyError):
            await again
        assert (await first.head("room", "photo")).size == len(b"acknowledged")
        await put(clusters[0], "photo", b"anew")


async def test_a_delete_that_fails_opens_no_bucket_that_another_one_closed(
    tmp_path: Path, slow: Callable[[int], Slow]
) -> None:
    """The other one goes on, and ends."""
    async with running(tmp_path, 3, LIKE) as clusters:
        first, other = clusters[0].objects, clusters[1].objects
        await first.create_bucket(Bucket("room", "me", 1))
        waits = slow(2)
        failing = asyncio.create_task(first.delete_bucket("room"))
        await waits.looked[0].wait()
        ending = asyncio.create_task(other.delete_bucket("room"))
        await waits.looked[1].wait()
        failing.cancel()
        await asyncio.wait([failing])
        with pytest.raises(UnavailableError, match="being deleted"):
            await put(clusters[2], "photo", b"refused")
        waits.go[1].set()
        await ending
        with pytest.raises(NoSuchBucketError):
            await clusters[2].objects.delete_bucket("room")


async def test_a_change_of_its_settings_opens_no_bucket_that_is_closed(
    tmp_path: Path, slow: Callable[[int], Slow]
) -> None:
    """Nor does it stop the deletion, which ends as if the change had come before."""
    async with running(tmp_path, 3, LIKE) as clusters:
        await clusters[0].objects.create_bucket(Bucket("room", "me", 1))
        waits = slow(1)
        ending = asyncio.create_task(clusters[0].objects.delete_bucket("room"))
        await waits.looked[0].wait()
        changed = await clusters[1].objects.set_bucket("room", versioning=Versioning.ENABLED)
        assert changed.versioning is Versioning.ENABLED
        with pytest.raises(UnavailableError, match="being deleted"):
            await put(clusters[2], "photo", b"refused")
        waits.go[0].set()
        await ending
