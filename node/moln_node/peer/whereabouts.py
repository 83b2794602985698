"""Where a key is: the answer of `GET /v1/where`, from the map that this node obeys and from each owner's own word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from moln_node.cluster import records
from moln_node.cluster.messages import Ask
from moln_node.store.registers import KeyState, Register, Space
from moln_spec.model import Document
from moln_spec.placement import partition_of

if TYPE_CHECKING:
    from moln_node.cluster.cluster import Cluster

_MOST_VERSIONS: Final = 100


class Copy(Document):
    """What one owner has of the key."""

    node: str
    zone: str
    owner: Literal["now", "before", "both"] = Field(
        description="In which list of owners it is, while a change of layout is under way; else `now`."
    )
    answers: bool
    versions: tuple[str, ...] = Field((), description="Version ids of what it holds, newest first; at most 100.")


class Whereabouts(Document):
    """The owners of a key, best first."""

    bucket: str
    key: str
    epoch: int = Field(description="Of the map that says so.")
    partition: int
    copies: tuple[Copy, ...]


async def whereabouts(cluster: Cluster, bucket: str, key: str) -> Whereabouts:
    """Ask every owner of a key what it has. NoSuchBucketError."""
    known = await cluster.objects.known(bucket)
    now = cluster.members.now
    register = Register(Space.OBJECTS, key, bucket, known.incarnation)
    electorate = now.electorate(register)
    asked = [now.replica(name).ask(Ask(register, None, _MOST_VERSIONS)) for name in electorate.owners]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    zones = {node.name: node.zone for node in now.map.nodes}
    copies = tuple(
        Copy(
            node=name,
            zone=zones.get(name, ""),
            owner=_list(name, electorate.writing[0].members, electorate.writing[-1].members),
            answers=isinstance(answer, KeyState),
            versions=tuple(records.shown_id(row) for row in answer.rows if row.live)
            if isinstance(answer, KeyState)
            else (),
        )
        for name, answer in zip(electorate.owners, answers, strict=True)
    )
    partition = partition_of(bucket, key, now.map.partitions)
    return Whereabouts(bucket=bucket, key=key, epoch=now.map.epoch, partition=partition, copies=copies)


def _list(name: str, before: frozenset[str], now: frozenset[str]) -> Literal["now", "before", "both"]:
    if before == now or name not in before:
        return "now"
    return "both" if name in now else "before"
