"""What nodes say to each other on port 9001: MessagePack arrays. Fields are only ever added at the end, with a default.

Sent by `peers`, answered by `routes` and `replica`. The version of the protocol is in the path (`/v1/replica/...`).
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from moln_node.store.documents import Parts  # noqa: TC001 (msgspec reads the annotations)
from moln_node.store.naming import Body  # noqa: TC001
from moln_node.store.registers import KeyState, Register, Row
from moln_node.store.scan import Page, Query
from moln_node.store.steps.replica import Vote

Message = TypeVar("Message")


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """What do you know of this register? `slot` narrows it to one; `depth` is how many live rows are wanted."""

    register: Register
    slot: bytes | None = None
    depth: int = 1


class Prepare(msgspec.Struct, array_like=True, frozen=True):
    """Promise to accept nothing below `ballot`."""

    register: Register
    ballot: bytes
    slot: bytes | None = None
    depth: int = 1


class SlotWrite(msgspec.Struct, array_like=True, frozen=True):
    """A row to accept, and how its bytes come: with it, from what was staged here, from parts, or from another owner.

    Attributes:
        inline: the bytes themselves, where there are few.
        staged: the id that staging gave.
        parts: what the object was uploaded as.
        upload: the upload that this completes: its register key and its parts' prefix; `taken` are the parts.
        source: the name of an owner that has the bytes.
    """

    row: Row
    inline: bytes | None = None
    staged: str = ""
    parts: Parts = ()
    upload: tuple[str, str] | None = None
    taken: tuple[tuple[str, bytes], ...] = ()
    source: str = ""


class Accept(msgspec.Struct, array_like=True, frozen=True):
    """Make these rows what the register holds, at `ballot`; `owed`: that counts, and is owed to the other owners."""

    register: Register
    ballot: bytes
    writes: tuple[SlotWrite, ...]
    owed: bool = False


class Install(msgspec.Struct, array_like=True, frozen=True):
    """Take these rows, which a majority of the owners holds, each at its own ballot.

    `generation` is what the receiver reported before it was asked what it has.
    """

    register: Register
    writes: tuple[SlotWrite, ...]
    generation: int = 0


class Collect(msgspec.Struct, array_like=True, frozen=True):
    """Drop these registers of one space of a bucket, of which all owners hold the same tombstones: key, fingerprint."""

    space: int
    bucket: str
    incarnation: bytes
    graves: tuple[tuple[str, int], ...]


class Collected(msgspec.Struct, array_like=True, frozen=True):
    """How many of them were dropped: those that were still as the fingerprint says."""

    registers: int


class Named(msgspec.Struct, array_like=True, frozen=True):
    """Which of these bodies do your copies of their keys' records, or of uploads, name? See `naming.Body`.

    With `bar` the answer holds from now on: what is older than that ballot is accepted no more, of any register.
    """

    bucket: str
    incarnation: bytes
    bodies: tuple[Body, ...]
    bar: bytes = b""


class NamedAnswer(msgspec.Struct, array_like=True, frozen=True):
    """Of each of them, in order, whether it is named."""

    of: tuple[bool, ...]


class Staged(msgspec.Struct, array_like=True, frozen=True):
    """Bytes that are safe on the answering node and wait for an accept; `digest` is xxh3 of what came."""

    id: str
    digest: bytes


class Scan(msgspec.Struct, array_like=True, frozen=True):
    """List a bucket's registers of one space; no bucket: the buckets themselves."""

    space: int
    query: Query
    bucket: str = ""
    incarnation: bytes = b""


class PartsAsk(msgspec.Struct, array_like=True, frozen=True):
    """The parts that a version was uploaded as."""

    register: Register
    version: bytes


class PartsAnswer(msgspec.Struct, array_like=True, frozen=True):
    """Those parts; None if the version is not here."""

    parts: Parts | None


class UsageAsk(msgspec.Struct, array_like=True, frozen=True):
    """How much of the bucket is on this node."""

    bucket: str
    incarnation: bytes


class UsageAnswer(msgspec.Struct, array_like=True, frozen=True):
    """Copies of objects here, and their bytes as clients wrote them."""

    objects: int
    bytes: int


class FingerprintsAsk(msgspec.Struct, array_like=True, frozen=True):
    """What do you hold of these registers of one space of a bucket?"""

    space: int
    bucket: str
    incarnation: bytes
    keys: tuple[str, ...]


class Fingerprints(msgspec.Struct, array_like=True, frozen=True):
    """For each of the keys, in order, a number that is the same where the same rows are held."""

    of: tuple[int, ...]


class Enroll(msgspec.Struct, array_like=True, frozen=True):
    """The member of that number has this disk. `replace` says that it takes the place of another, and is full."""

    number: int
    disk: bytes
    replace: bool = False


class Enrolled(msgspec.Struct, array_like=True, frozen=True):
    """The disk that the member is known by from now on, and the newest ballot that was seen here."""

    disk: bytes
    ballot: bytes


class ReportAsk(msgspec.Struct, array_like=True, frozen=True):
    """How far are you?"""


class Report(msgspec.Struct, array_like=True, frozen=True):
    """How far the node is.

    Attributes:
        epoch: that it obeys.
        led: `since` of the stage in which it has brought what it is the first to bring.
        strays: registers that it holds and others own; -1 where it does not know, or does not count.
        generation: another one whenever it has dropped tombstones, and after each start.
        clock_ms: its wall clock; 0 of a release that does not tell it.
    """

    epoch: int
    led: int
    strays: int = -1
    generation: int = 0
    clock_ms: int = 0


_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """The message as it travels."""
    return _ENCODER.encode(message)


_DECODERS: Final = {
    kind: msgspec.msgpack.Decoder(kind)
    for kind in (
        Ask,
        KeyState,
        Prepare,
        Accept,
        Install,
        Collect,
        Collected,
        Named,
        NamedAnswer,
        Vote,
        Staged,
        Scan,
        Page,
        PartsAsk,
        PartsAnswer,
        UsageAsk,
        UsageAnswer,
        FingerprintsAsk,
        Fingerprints,
        Enroll,
        Enrolled,
        ReportAsk,
        Report,
    )
}


def decode(kind: type[Message], data: bytes) -> Message:
    """The message; msgspec.MsgspecError if it is none of this kind."""
    message: Message = _DECODERS[kind].decode(data)  # type: ignore[index, assignment]
    return message
