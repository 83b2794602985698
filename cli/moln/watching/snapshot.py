"""A cloud at one moment, as its source found it; and where snapshots come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import urllib3

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln.watching.page import Page
    from moln_spec.cloudmap import CloudMap


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of the Cloud, as the operator wrote it."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that was seen.

    Attributes:
        cloud: the cloud's name.
        where: where it runs, for people.
        endpoint: where S3 is.
        map: who is in it.
        pages: every node of the map, in its order.
        conditions: what the operator says; empty where there is none.
    """

    cloud: str
    where: str
    endpoint: str
    map: CloudMap
    pages: tuple[Page, ...]
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Doors:
    """Port 9001 of the nodes that can be asked.

    Attributes:
        addresses: where it is, by the node's name: `http://HOST:PORT`, or https.
        secret: the cloud secret, which opens it.
        http: connections that show what it wants to see.
    """

    addresses: Mapping[str, str]
    secret: str = field(repr=False)
    http: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)


class Source(Protocol):
    """Where a cloud is looked at, again and again."""

    def doors(self) -> Doors:
        """Port 9001 of the nodes, and what opens it; CliError."""
        ...

    def look(self) -> Snapshot:
        """The cloud now; CliError when nothing can be said about it."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
