"""What a node says of itself on port 9001: the answers of `/live`, `/ready` and `GET /v1/status`.

Nodes make them; the operator and the user's command read them, also those of a release before or after their own.
Fields that a reader does not know are ignored. Those that an older release does not say have their default within
`Annotated`: they may be missing where one is read, and mypy lets no node leave them out, as it would by a default after
`=`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field

from moln_spec.model import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

_State = Literal["ok", "warn", "fail"]


class _Answer(Document):
    model_config = ConfigDict(extra="ignore")


def _known(state: object) -> object:
    return state if state in get_args(_State) else "warn"


class Check(_Answer):
    """One named check. `warn` is worth a look and does not make the node unready; so is a state that is not known."""

    name: str
    state: Annotated[_State, BeforeValidator(_known)]
    message: str = ""


class Health(_Answer):
    """The answer of `/live` and `/ready`."""

    ok: bool
    checks: tuple[Check, ...] = ()


class ClassUsage(_Answer):
    """What one storage class holds: every version counts, bytes are as clients wrote them."""

    objects: Annotated[int, Field(default=0)]
    bytes: int


class Moving(_Answer):
    """How far a node's pass over what changes owners is (docs/membership.md).

    Attributes:
        done: registers that were compared with all their owners, and agree now.
        total: registers here whose owners change: an estimate until the pass is done.
        bytes: bytes of bodies that other nodes took over for it.
        seconds_left: how long it goes on at its pace so far; None while nobody can tell.
    """

    done: int
    total: int
    bytes: int
    seconds_left: Annotated[float | None, Field(default=None)]


class NodeStatus(_Answer):
    """The answer of `GET /v1/status`: how a node stands in the cloud, and how it is.

    Attributes:
        counts: it votes as an owner: not while it refills an empty disk, or clears an old one.
        number: the member number that its disk has; None before it first counts.
        passed: `since` of the stage of the change under way whose pass is done here; None before that.
        moving: the pass that runs; None where there is none.
        no_room: nodes that had no room for what they own, or come to own.
        damage: things that are damaged here, and that no other owner had good a moment ago; the log names them.
        strays: registers held here and owned by others; None while unknown, as during a change.
        registers: keys, buckets, uploads and parts that it holds something of, tombstones too.
        hints: registers of which it knows that an owner lacks something; with what is owed and late.
        owed: writes that it acknowledged alone, and the owners have yet to decide.
        dead_letters: such writes that are not tried any more; see `moln letters`.
        epoch: that of the map by which the node does everything that it does.
        version: the release that runs.
        capacity_bytes: of the volume, as the file system says; so are `used_bytes` and `free_bytes`.
        secrets: fingerprints of the cloud secrets that it accepts; the first is of the one that it sends. None: a
            release that does not say.
        certificate: SHA-256 of the certificate that S3 is served with; empty without TLS.
        peer_tls: fingerprint of the mode and the certificates of port 9001; empty where it has none. None: a release
            that does not say.
    """

    counts: Annotated[bool, Field(default=True)]
    number: Annotated[int | None, Field(default=None)]
    passed: Annotated[int | None, Field(default=None)]
    moving: Annotated[Moving | None, Field(default=None)]
    no_room: Annotated[tuple[str, ...], Field(default=())]
    damage: Annotated[int, Field(default=0)]
    strays: Annotated[int | None, Field(default=None)]
    registers: Annotated[int, Field(default=1)]  # not 0: a disk of which nothing is known is no empty one
    hints: Annotated[int, Field(default=0)]
    owed: Annotated[int, Field(default=0)]
    dead_letters: Annotated[int, Field(default=0)]
    node: str
    cloud: Annotated[str, Field(default="")]
    uid: str
    epoch: int
    version: str
    ready: bool
    checks: Annotated[tuple[Check, ...], Field(default=())]
    capacity_bytes: int
    used_bytes: int
    free_bytes: Annotated[int, Field(default=0)]
    objects: int
    bytes: Annotated[int, Field(default=0)]
    classes: Annotated[dict[str, ClassUsage], Field(default={})]
    uptime_seconds: float
    secrets: Annotated[tuple[str, ...] | None, Field(default=None)]
    certificate: Annotated[str, Field(default="")]
    peer_tls: Annotated[str | None, Field(default=None)]


def damage_words(damage: Mapping[str, int]) -> str:
    """What to say of the `damage` that each node has, by name; nothing where none has any."""
    found = ", ".join(f"{number} on {name}" for name, number in damage.items() if number)
    return found and (
        f"objects, parts or versions are damaged ({found}), and no other owner that answers has them good: the node's "
        "log names them; put them anew, or delete them"
    )
