"""Where a key is, and its bytes: the answer of `GET /v1/where`, from the map and from each owner's own word."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from moln_node.cluster import bodykeys, records
from moln_node.cluster.apart import register_of
from moln_node.cluster.messages import Ask
from moln_node.cluster.quorum import merge
from moln_node.store.registers import KeyState, Register, Space
from moln_spec.model import Document
from moln_spec.placement import partition_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.cluster.cluster import Cluster
    from moln_node.cluster.members import Obeyed

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


class Apart(Document):
    """Where the bytes of the newest version are, if they are apart from its record."""

    place: str = Field(description="The storage class whose pools these are, or `@POOL`.")
    copies: tuple[Copy, ...] = Field(description="The owners, best first; who has the bytes has a version, `null`.")


class Whereabouts(Document):
    """The owners of a key, best first."""

    bucket: str
    key: str
    epoch: int = Field(description="Of the map that says so.")
    partition: int
    copies: tuple[Copy, ...]
    bytes: Apart | None = Field(None, description="None: they are with the record.")


async def whereabouts(cluster: Cluster, bucket: str, key: str) -> Whereabouts:
    """Ask every owner of a key what it has. NoSuchBucketError."""
    known = await cluster.objects.known(bucket)
    now = cluster.members.now
    register = Register(Space.OBJECTS, key, bucket, known.incarnation)
    answers = await _ask(now, register)
    newest = merge({name: state for name, state in answers.items() if isinstance(state, KeyState)}).newest
    body = "" if newest is None else newest.document.body
    return Whereabouts(
        bucket=bucket,
        key=key,
        epoch=now.map.epoch,
        partition=partition_of(bucket, key, now.map.partitions),
        copies=_copies(now, register, answers),
        bytes=await _bytes(now, register_of(register, body)) if body else None,
    )


async def _ask(now: Obeyed, register: Register) -> dict[str, KeyState | BaseException]:
    """What each owner has, best first."""
    owners = now.electorate(register).owners
    asked = [now.replica(name).ask(Ask(register, None, _MOST_VERSIONS)) for name in owners]
    return dict(zip(owners, await asyncio.gather(*asked, return_exceptions=True), strict=True))


async def _bytes(now: Obeyed, there: Register) -> Apart:
    place = bodykeys.place_of(bodykeys.body_of(there.key))
    return Apart(place=place, copies=_copies(now, there, await _ask(now, there)))


def _copies(now: Obeyed, register: Register, answers: Mapping[str, KeyState | BaseException]) -> tuple[Copy, ...]:
    zones = {node.name: node.zone for node in now.map.nodes}
    electorate = now.electorate(register)
    return tuple(
        Copy(
            node=name,
            zone=zones.get(name, ""),
            owner=_list(name, electorate.writing[0].members, electorate.writing[-1].members),
            answers=isinstance(answer, KeyState),
            versions=tuple(records.shown_id(row) for row in answer.rows if row.live)
            if isinstance(answer, KeyState)
            else (),
        )
        for name, answer in answers.items()
    )


def _list(name: str, before: frozenset[str], now: frozenset[str]) -> Literal["now", "before", "both"]:
    if before == now or name not in before:
        return "now"
    return "both" if name in now else "before"
