"""Dead letters, as a person looks at them and decides: the documents of `POST /v1/letters` and `/v1/letters/settle`.

They are told a page at a time, all of them; what is replayed or dropped is named letter by letter, so that nothing is
given up that nobody was shown.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from pydantic import Field, PlainValidator

from moln_node.store.steps.owed import START, Debt, Key
from moln_spec.model import Document
from moln_spec.version import Version

if TYPE_CHECKING:
    from moln_node.cluster.owed import Owed

_PAGE: Final = 500
_KEY: Final[msgspec.msgpack.Decoder[Key]] = msgspec.msgpack.Decoder(Key)


def _key(written: object) -> Key:
    """What a letter's id says, the empty one that it is before all; ValueError."""
    if written == "":
        return START
    try:
        return _KEY.decode(base64.urlsafe_b64decode(str(written)))
    except (binascii.Error, msgspec.DecodeError) as error:
        raise ValueError("it is no letter's id") from error


def _id(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode()


LetterId = Annotated[Key, PlainValidator(_key)]


class LettersAsk(Document):
    """Which page."""

    after: LetterId = Field(START, description="The last letter of the page before; empty: the first page.")


class Letter(Document):
    """A write that this disk alone acknowledged, and that is not tried any more."""

    id: str = Field(description="Names it on this disk.")
    path: str = Field(description="Bucket and key.")
    version: str | None = Field(description="None: it can't be read.")
    bytes: int
    reason: str


class Letters(Document):
    """A page of them."""

    letters: tuple[Letter, ...]
    owed: int = Field(description="Writes that are owed besides, and tried.")
    next: str | None = Field(description="After which letter the next page is; none: there is nothing more.")


class Settle(Document):
    """What is to become of some of them."""

    action: Literal["replay", "drop"]
    letters: tuple[LetterId, ...] = Field(max_length=_PAGE)


class Settled(Document):
    """What became of them."""

    settled: int = Field(description="Of those that were named; the others are no dead letters any more.")


async def page(queue: Owed, ask: LettersAsk) -> Letters:
    """One page."""
    found = await queue.dead_letters(ask.after, _PAGE)
    return Letters(
        letters=tuple(_letter(debt) for debt in found),
        owed=(await queue.count()).owed,
        next=_id(found[-1].id) if len(found) == _PAGE else None,
    )


def _letter(debt: Debt) -> Letter:
    return Letter(
        id=_id(debt.id),
        path=debt.register.path,
        version=None if debt.row is None else Version.from_bytes(debt.row.version).encode(),
        bytes=0 if debt.row is None else debt.row.document.size,
        reason=debt.dead,
    )


async def settle(queue: Owed, wish: Settle) -> Settled:
    """Replay or drop those that are named, and no other."""
    do = {"replay": queue.replay, "drop": queue.drop}[wish.action]
    return Settled(settled=await do(wish.letters))
