"""What a node says of itself on port 9001: the documents of `/ready`, `/v1/status` and `/v1/capabilities`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from moln_spec.model import Document


class Check(Document):
    """One named check of `/ready`. `warn` is worth a look and does not make the node unready."""

    name: str
    state: Literal["ok", "warn", "fail"]
    message: str = ""


class Health(Document):
    """The answer of `/live` and `/ready`."""

    ok: bool
    checks: tuple[Check, ...] = ()


class ClassUsage(Document):
    """What one storage class holds: every version counts, bytes are as clients wrote them."""

    objects: int = 0
    bytes: int = 0


class Moving(Document):
    """How far this node's pass over what changes owners is (docs/membership.md)."""

    done: int = Field(description="Registers that were compared with all their owners, and agree now.")
    total: int = Field(description="Registers here whose owners change: an estimate until the pass is done.")
    bytes: int = Field(description="Bytes of bodies that other nodes took over for it.")
    seconds_left: float | None = Field(
        None, description="How long it goes on at its pace so far; none while nobody can tell."
    )


class Standing(Document):
    """How a node stands in the cloud: whether it counts, and how far the change of layout under way is on it."""

    counts: bool = Field(description="It votes as an owner: not while it refills an empty disk, or clears an old one.")
    number: int | None = Field(description="The member number that its disk has; none before it first counts.")
    passed: int | None = Field(
        None, description="`since` of the stage of the change under way whose pass is done here; none before that."
    )
    moving: Moving | None = Field(None, description="The pass that runs; none where there is none.")
    no_room: tuple[str, ...] = Field((), description="Nodes that had no room for what they own, or come to own.")
    damage: int = Field(
        0,
        description="Things that are damaged here, and that no other owner had good a moment ago; the log names them.",
    )
    strays: int | None = Field(
        None, description="Registers held here and owned by others; none while unknown, as during a change."
    )
    registers: int = Field(description="Keys, buckets, uploads and parts that it holds something of, tombstones too.")
    hints: int = Field(
        description="Registers of which it knows that an owner lacks something; with what is owed and late."
    )
    owed: int = Field(description="Writes that it acknowledged alone, and the owners have yet to decide.")
    dead_letters: int = Field(description="Such writes that are not tried any more; see `moln letters`.")


class Status(Standing):
    """The answer of `GET /v1/status`; the byte counts of the volume are what the file system says.

    `epoch` is that of the map by which the node does everything that it does.
    """

    node: str
    cloud: str
    uid: str
    epoch: int
    version: str = Field(description="The release that runs.")
    ready: bool
    checks: tuple[Check, ...]
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    objects: int
    bytes: int
    classes: dict[str, ClassUsage]
    uptime_seconds: float
    secrets: tuple[str, ...] = Field(
        description="Fingerprints of the cloud secrets that it accepts; the first is of the one that it sends."
    )
    certificate: str = Field(description="SHA-256 of the certificate that S3 is served with; empty without TLS.")
    peer_tls: str = Field(
        description="Fingerprint of the mode and the certificates of port 9001; empty where it has none."
    )


class Capabilities(Document):
    """The answer of `GET /v1/capabilities`: what this release can read, write and do."""

    version: str
    compression: tuple[str, ...]
    deduplication: bool
    tasks: tuple[str, ...]
    max_object_bytes: int
