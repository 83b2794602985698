"""The cloud map: the one document that nodes obey.

The operator (or `moln dev`) makes it, nodes keep the newest epoch that they were given, on disk, and never edit it.
"""

from __future__ import annotations

from operator import not_
from typing import Final, Literal

from pydantic import Field

from moln_spec.classes import AssignmentRule, StorageClass
from moln_spec.model import Document

DEFAULT_COPIES: Final = 3
NodeState = Literal["spare", "joining", "active", "leaving"]
"""spare: runs and answers, owns nothing, and waits to be taken in; joining: owns what it gets in the change under way;
leaving: owns nothing once that is over, and is being emptied."""


class MapNode(Document):
    """One storage node as the others see it."""

    name: str = Field(description="The node's name, unique in the cloud: the pod's name on Kubernetes.")
    number: int = Field(
        ge=0, lt=2**32, description="Never used twice in a cloud: it ends the versions that this node makes."
    )
    address: str = Field(description="host:port of the node's peer API (port 9001).")
    pool: str = Field(description="The pool (StorageNode) that the node belongs to.")
    zone: str = Field("", description="Failure zone; empty when unknown.")
    weight: float = Field(1.0, gt=0, description="Share of the partitions, relative to the other nodes.")
    state: NodeState = Field("active", description="Where the node is in its life.")


class _Pooled(Document):
    """What may name pools. Where it names none it does not speak of them: nodes of the release before take the map."""

    pools: tuple[str, ...] = Field((), exclude_if=not_, description="Owners are members of these pools; empty: of any.")


class MapPolicy(_Pooled):
    """A ReplicationPolicy as nodes obey it."""

    name: str
    buckets: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    storage_classes: tuple[str, ...] = ()
    copies: int = Field(3, ge=1, le=9)
    write: Literal["one", "majority", "all"] = "majority"
    read: Literal["one", "majority"] = "majority"
    spread: Literal["zone", "node"] = "zone"

    @property
    def replication(self) -> Replication:
        """What of it decides owners."""
        return Replication(
            name=self.name,
            buckets=self.buckets,
            prefixes=self.prefixes,
            pools=self.pools,
            copies=self.copies,
            spread=self.spread,
        )


class Member(Document):
    """A node as placement sees it."""

    name: str
    number: int = Field(ge=0, lt=2**32, description="A disk that is lost for good comes back under another number.")
    pool: str = ""
    zone: str = ""
    weight: float = Field(1.0, gt=0)
    lost: bool = Field(
        default=False, description="The user's word that this member's disk is gone: its answers never count."
    )


class Replication(_Pooled):
    """How many owners the keys of some buckets or prefixes have, and among whom: what of a policy decides owners."""

    name: str
    buckets: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    copies: int = Field(3, ge=1, le=9, description="Where there are fewer members, all of them own the key.")
    spread: Literal["zone", "node"] = "zone"


class BodyPlace(Document):
    """Where bodies live apart from their records: on members of these pools, as many as the key's rule says."""

    name: str = Field(description="The storage class whose bodies live here, or @POOL of a rule that pins to a pool.")
    pools: tuple[str, ...] = Field(min_length=1, description="Owners of the bodies are members of these pools.")
    replication: tuple[Replication, ...] = Field(
        (), description="Of policies that select the class: by these, where one is for the key, else by the key's rule."
    )

    @property
    def keeper(self) -> str:
        """Who has the bodies kept here, as the user calls it."""
        return "an assignment rule" if self.name.startswith("@") else f"storage class {self.name}"


class _Placed(Document):
    """What may name places. Where it names none it does not speak of them: nodes of the release before take the map."""

    places: tuple[BodyPlace, ...] = Field(
        (), exclude_if=not_, description="Where bodies live apart from their records; all others live with them."
    )


class Layout(_Placed):
    """Everything that decides who owns what: the members, how many copies there are of which keys, bodies apart."""

    members: tuple[Member, ...] = Field(min_length=1)
    replication: tuple[Replication, ...] = ()


class Change(Document):
    """A change of layout under way: every key has two lists of owners, those of `before` and those of the map's nodes.

    Writes need a majority of both. In the stage `copying` reads ask the owners of `before`, and the new owners get
    what they lack; in `confirming` reads ask both, and a last pass makes sure that nothing is missing. Then `before` is
    dropped. docs/membership.md has the reasons.
    """

    before: Layout
    stage: Literal["copying", "confirming"] = "copying"
    since: int = Field(ge=1, description="Epoch at which this stage, towards these nodes, began.")


class Limits(Document):
    """Bounds on what a node takes."""

    reserve_percent: float = Field(
        2.0,
        ge=0,
        le=50,
        description="Share of each volume that writes must leave free, so that deletes and repair always have room.",
    )
    node_quota_bytes: int | None = Field(
        None, ge=0, description="Most bytes of bodies on one node; none: the volume is the bound."
    )
    upload_expiry_days: int = Field(7, ge=1, description="Days after which an unfinished multipart upload is aborted.")


class CloudMap(_Placed):
    """Who is in the cloud and by which rules it lives, at one epoch."""

    cloud: str = Field(description="The Cloud's name.")
    uid: str = Field(description="The Cloud's identity; a node refuses the map of another cloud.")
    epoch: int = Field(ge=1, description="Grows by one with every change; the higher epoch wins.")
    partitions: int = Field(512, ge=1, le=65536, description="Fixed for the life of the cloud.")
    next_number: int = Field(
        0, ge=0, lt=2**32, description="Numbers below this have been given to nodes, also past ones."
    )
    nodes: tuple[MapNode, ...] = Field(min_length=1)
    storage_classes: tuple[StorageClass, ...] = (StorageClass(name="STANDARD", default=True),)
    assignment_rules: tuple[AssignmentRule, ...] = ()
    policies: tuple[MapPolicy, ...] = ()
    limits: Limits = Limits()
    change: Change | None = Field(None, description="The change of layout under way, if there is one.")
    given_up: tuple[str, ...] = Field(
        (), description="The user's lostNodes, as far as they were obeyed: each name once, until it is taken back."
    )

    @property
    def layout(self) -> Layout:
        """Who owns what by this map, once the change under way is over."""
        return Layout(
            members=tuple(
                Member(name=node.name, number=node.number, pool=node.pool, zone=node.zone, weight=node.weight)
                for node in self.nodes
                if node.state in ("joining", "active")
            ),
            replication=tuple(policy.replication for policy in self.policies if not policy.storage_classes),
            places=self.places,
        )
