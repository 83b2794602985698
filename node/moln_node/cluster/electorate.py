"""Whose word decides about a register: one list of owners, or two while a change of layout is under way. Pure.

docs/membership.md says which lists count for what, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from moln_spec.placement import quorum

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True, slots=True)
class Quorum:
    """So many of one list of owners."""

    members: frozenset[str]
    least: int

    def is_in(self, names: AbstractSet[str]) -> bool:
        """Whether these are enough."""
        return len(self.members & names) >= self.least


@dataclass(frozen=True, slots=True)
class Electorate:
    """The owners of a register at one epoch.

    Attributes:
        owners: all that are asked to write, best first.
        readers: all that are asked to read.
        writing: a write, a promise or a decision needs each of these quorums.
        reading: an answer needs each of these; what they hold is settled.
        sole: the one node whose word alone is all of that; empty where there is none.
    """

    owners: tuple[str, ...]
    readers: tuple[str, ...]
    writing: tuple[Quorum, ...]
    reading: tuple[Quorum, ...]
    sole: str

    @classmethod
    def of(cls, now: Owning, before: Owning | None = None, *, confirming: bool = False) -> Electorate:
        """The electorate of a list of owners, and of the list before while that still counts."""
        if before is None or before.quorum == now.quorum:
            quorums = (now.quorum,)
            sole = now.names[0] if len(now.names) == 1 and now.quorum.least == 1 else ""
            return cls(now.names, now.names, quorums, quorums, sole)
        everyone = tuple(dict.fromkeys((*now.names, *before.names)))
        writing = (before.quorum, now.quorum)
        if confirming:
            return cls(everyone, everyone, writing, writing, "")
        return cls(everyone, before.names, writing, (before.quorum,), "")

    def wanting(self, least: int) -> Electorate:
        """The same, for what so many of the owners have to have."""
        return replace(self, writing=(Quorum(frozenset(self.owners), least),))

    def may_write(self, names: AbstractSet[str]) -> bool:
        """Whether these are enough to decide."""
        return all(quorum.is_in(names) for quorum in self.writing)

    def settled(self, names: AbstractSet[str]) -> bool:
        """Whether these are enough to answer; what they hold alike no later reader can miss."""
        return all(quorum.is_in(names) for quorum in self.reading)

    def thins_to(self, name: str) -> bool:
        """Whether owners go and none comes, and this one stays: its copy is one of those that are left then."""
        if len(self.writing) == 1:
            return False
        before, now = self.writing
        return now.members < before.members and name in now.members

    def shut_out(self, names: AbstractSet[str]) -> bool:
        """Whether nobody can read or decide without one of these: they are a quorum of some list of readers."""
        return any(quorum.is_in(names) for quorum in self.reading)


@dataclass(frozen=True, slots=True)
class Owning:
    """One list: the names that can be asked, best first, and how many of them make a quorum."""

    names: tuple[str, ...]
    quorum: Quorum

    @classmethod
    def among(cls, members: Iterable[tuple[str, bool]]) -> Owning:
        """The list of these names, each with whether it is lost for good.

        A quorum is a majority of all, or all that are left where these are fewer.
        """
        listed = tuple(members)
        left = tuple(name for name, lost in listed if not lost)
        return cls(left, Quorum(frozenset(left), quorum(len(listed), len(left))))
