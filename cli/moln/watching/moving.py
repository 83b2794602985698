"""What a change moves, as the nodes tell it page by page: read, added up, and never held as a whole."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from moln.watching.ask import ask
from moln_spec.cloudmap import CloudMap  # noqa: TC001 (pydantic needs it)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moln.watching.snapshot import Doors
    from moln_spec.room import Volume


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Place(_Answer):
    """Where a node's next page begins."""

    bucket: str = ""
    kind: str = "bucket"
    key: str = ""


class _Ask(BaseModel):
    start: Place = Place()
    map: CloudMap | None = None


class Share(_Answer):
    """What of a key goes from one node to another; rows are versions, tombstones too."""

    source: str
    target: str
    rows: int
    bytes: int


class Move(_Answer):
    """What happens to a key, to a bucket's own record or to an upload."""

    kind: Literal["bucket", "object", "upload", "body"]
    bucket: str
    key: str
    rows: int
    bytes: int
    shares: tuple[Share, ...]
    leaves: tuple[str, ...]


class _Page(_Answer):
    moves: tuple[Move, ...]
    seen: int
    unanswered: int
    next: Place | None


@dataclass
class Sum:
    """Keys and the bytes of their bodies."""

    keys: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One key more."""
        self.keys += 1
        self.bytes += size


@dataclass
class Totals:
    """Everything that moves, added up.

    Attributes:
        keys: keys, buckets and uploads of which anything moves.
        gets: what each node gets.
        between: what goes from one node to another; a key that comes from two nodes counts for each.
        leaves: what leaves each node once others have it.
        unanswered: of how many keys a holder does not answer.
    """

    keys: Sum = field(default_factory=Sum)
    gets: defaultdict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    between: defaultdict[tuple[str, str], Sum] = field(default_factory=lambda: defaultdict(Sum))
    leaves: defaultdict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    unanswered: int = 0

    def add(self, move: Move) -> None:
        """Count a key."""
        if move.shares:
            self.keys.add(sum(share.bytes for share in move.shares))
        for target in {share.target for share in move.shares}:
            self.gets[target].add(sum(share.bytes for share in move.shares if share.target == target))
        for share in move.shares:
            self.between[share.source, share.target].add(share.bytes)
        for name in move.leaves:
            self.leaves[name].add(move.bytes)

    def lacks(self, volumes: Mapping[str, Volume], reserve_percent: float) -> dict[str, int]:
        """The bytes that each node lacks for what it gets, by name; nodes whose volume nobody knows are left out."""
        found = {}
        for name, gets in self.gets.items():
            volume = volumes.get(name)
            if volume is not None:
                room = int(volume.free_bytes - volume.capacity_bytes * reserve_percent / 100)
                if gets.bytes > room:
                    found[name] = gets.bytes - room
        return found

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "keys": self.keys.keys,
            "bytes": self.keys.bytes,
            "unanswered": self.unanswered,
            "moves": [
                {"from": source, "to": target, "keys": one.keys, "bytes": one.bytes}
                for (source, target), one in sorted(self.between.items())
            ],
            "gets": {name: {"keys": one.keys, "bytes": one.bytes} for name, one in sorted(self.gets.items())},
            "leaves": {name: {"keys": one.keys, "bytes": one.bytes} for name, one in sorted(self.leaves.items())},
        }


def moves(doors: Doors, thought_of: CloudMap | None, totals: Totals) -> Iterator[Move]:
    """Everything that moves, one key after the other, counted in `totals` as it is read; CliError."""
    with doors.http as http:
        for address in doors.addresses.values():
            start: Place | None = Place()
            while start is not None:
                post = _Ask(start=start, map=thought_of)
                page = ask(http, address, doors.secret, "/v1/moves", _Page, post=post)
                totals.unanswered += page.unanswered
                for move in page.moves:
                    totals.add(move)
                    yield move
                start = page.next
