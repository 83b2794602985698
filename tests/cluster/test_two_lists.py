"""While owners change: whose answers a write and a read need, of the list before and of the list after."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import pytest
from tests.cluster.in_process import running
from tests.cluster.test_repair import LIKE, put

from moln_node.cluster.errors import UnavailableError
from moln_node.store.model import Bucket
from moln_spec.cloudmap import Change, Layout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from moln_node.cluster.cluster import Cluster
    from moln_spec.cloudmap import CloudMap

Stage = Literal["copying", "confirming"]


def changing(cloud_map: CloudMap, stage: Stage) -> CloudMap:
    """Of four nodes the first is going, and the last is coming: every key is owned by three before and three after."""
    first, *_, last = cloud_map.nodes
    states = {first.name: "leaving", last.name: "joining"}
    nodes = tuple(node.model_copy(update={"state": states.get(node.name, "active")}) for node in cloud_map.nodes)
    before = Layout(members=tuple(member for member in cloud_map.layout.members if member.name != last.name))
    change = Change(before=before, stage=stage, since=2)
    return cloud_map.model_copy(update={"epoch": 2, "nodes": nodes, "change": change})


@asynccontextmanager
async def four(tmp_path: Path, stage: Stage) -> AsyncIterator[list[Cluster]]:
    """Four nodes in the midst of a change, with an object in a bucket that all of them have."""
    async with running(tmp_path, 4, LIKE) as clusters:
        await clusters[0].objects.create_bucket(Bucket("room", "me", 1))
        for cluster in clusters:
            await cluster.adopt(changing(cluster.members.map, stage))
        await put(clusters[0], "k", b"1")
        yield clusters


def silence(clusters: list[Cluster], *silent: int) -> None:
    """Let these nodes answer nothing that counts, and all others everything."""
    for number, cluster in enumerate(clusters):
        cluster.members.own.voting = number not in silent


@pytest.mark.parametrize(
    ("stage", "silent", "works"),
    [
        ("copying", (1,), True),
        ("copying", (0, 3), True),
        ("copying", (0, 1), False),
        ("copying", (1, 3), True),  # it is settled for readers, and the pass to come brings it to the list after
        ("confirming", (1,), True),
        ("confirming", (0, 3), True),
        ("confirming", (0, 1), False),
        ("confirming", (1, 3), False),
    ],
)
async def test_whom_a_write_needs(tmp_path: Path, stage: Stage, silent: tuple[int, ...], *, works: bool) -> None:
    """Before are 0, 1 and 2, after are 1, 2 and 3: without 0 and 1 the first are too few, without 1 and 3 the other."""
    async with four(tmp_path, stage) as clusters:
        silence(clusters, *silent)
        if works:
            await put(clusters[2], "k", b"2")
        else:
            with pytest.raises(UnavailableError):
                await put(clusters[2], "k", b"2")


@pytest.mark.parametrize(
    ("stage", "silent", "works"),
    [
        ("copying", (1, 3), True),
        ("copying", (0, 1), False),
        ("confirming", (1, 3), False),
        ("confirming", (0, 1), False),
        ("confirming", (1,), True),
    ],
)
async def test_whom_a_read_needs(tmp_path: Path, stage: Stage, silent: tuple[int, ...], *, works: bool) -> None:
    """What is read may rest on the list before alone only while nothing rests on the list after."""
    async with four(tmp_path, stage) as clusters:
        silence(clusters, *silent)
        if works:
            assert (await clusters[2].objects.head("room", "k")).size == 1
        else:
            with pytest.raises(UnavailableError):
                await clusters[2].objects.head("room", "k")
