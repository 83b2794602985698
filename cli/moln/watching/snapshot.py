"""A cloud at one moment, as its source found it; and where snapshots come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
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


class Copy(BaseModel):
    """What one owner has of a key, and in which list of owners it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node: str
    zone: str
    owner: Literal["now", "before", "both"]
    answers: bool
    versions: tuple[str, ...]


class Whereabouts(BaseModel):
    """The owners of a key, best first, as a node answers `GET /v1/where`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    bucket: str
    key: str
    epoch: int
    partition: int
    copies: tuple[Copy, ...]


class Source(Protocol):
    """Where a cloud is looked at, again and again."""

    def where(self, bucket: str, key: str) -> Whereabouts:
        """The owners of a key, and what each has of it; CliError."""
        ...

    def look(self) -> Snapshot:
        """The cloud now; CliError when nothing can be said about it."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
