"""What a change of layout moves: the documents of `POST /v1/moves`, over `moln_node.cluster.moves`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from moln_node.cluster import moves
from moln_node.store.registers import Space
from moln_spec.cloudmap import CloudMap  # noqa: TC001 (pydantic needs it)
from moln_spec.model import Document

if TYPE_CHECKING:
    from moln_node.cluster.cluster import Cluster

Kind = Literal["bucket", "object", "upload", "body"]
_KINDS: Final[dict[int, Kind]] = {
    Space.BUCKETS: "bucket",
    Space.OBJECTS: "object",
    Space.UPLOADS: "upload",
    Space.BODIES: "body",
}
_SPACES: Final = {kind: Space(space) for space, kind in _KINDS.items()}


class Place(Document):
    """Where a walk is: behind this key."""

    bucket: str = ""
    kind: Kind = "bucket"
    key: str = ""


class MovesAsk(Document):
    """Which page, and of which change."""

    start: Place = Place()
    map: CloudMap | None = Field(None, description="A map that names a change; none: the map that the node obeys.")


class Share(Document):
    """What goes from one node to another."""

    source: str
    target: str
    rows: int
    bytes: int


class Move(Document):
    """What the change does to a key, a bucket's settings, an upload or a body; rows are versions, tombstones too."""

    kind: Kind
    bucket: str
    key: str
    rows: int
    bytes: int
    shares: tuple[Share, ...] = Field(description="What the new owners lack.")
    leaves: tuple[str, ...] = Field(description="Nodes that it leaves once the new owners have it.")


class Moves(Document):
    """A page of what this node is the one to tell of."""

    moves: tuple[Move, ...]
    seen: int = Field(description="Registers that were looked at for it.")
    unanswered: int = Field(description="Of those that move: an owner of today does not answer.")
    next: Place | None = Field(description="Where the next page begins; none: there is nothing more.")


async def page(cluster: Cluster, ask: MovesAsk) -> Moves:
    """One page."""
    start = moves.Place(ask.start.bucket, _SPACES[ask.start.kind], ask.start.key)
    found = await moves.page(cluster.members, start, ask.map)
    following = found.next
    return Moves(
        moves=tuple(
            Move(
                kind=_KINDS[one.register.space],
                bucket=one.register.bucket,
                key=one.register.key,
                rows=one.rows,
                bytes=one.bytes,
                shares=tuple(Share(source=s.source, target=s.target, rows=s.rows, bytes=s.bytes) for s in one.shares),
                leaves=one.leaves,
            )
            for one in found.moved
        ),
        seen=found.seen,
        unanswered=found.unanswered,
        next=None
        if following is None
        else Place(bucket=following.bucket, kind=_KINDS[following.space], key=following.key),
    )
