"""`moln letters`: the dead letters of every node, and what is to become of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import click
from pydantic import BaseModel, ConfigDict

from moln.errors import CliError, Exit
from moln.output import Output, size_text
from moln.watching.ask import ask
from moln.watching.choose import with_source

if TYPE_CHECKING:
    from moln.watching.snapshot import Doors, Source

Action = Literal["replay", "drop"]
_DONE: Final = {"replay": "tried again", "drop": "dropped"}
_AT_ONCE: Final = 500


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Letter(_Answer):
    id: str
    path: str
    version: str | None
    bytes: int
    reason: str

    def __str__(self) -> str:
        version = "that can't be read" if self.version is None else self.version
        return f"{self.path}: version {version}, {self.bytes} bytes: {self.reason}"


class _Page(_Answer):
    letters: tuple[_Letter, ...]
    owed: int
    next: str | None


class _Ask(BaseModel):
    after: str = ""


class _Settle(BaseModel):
    action: Action
    letters: tuple[str, ...]


class _Settled(_Answer):
    settled: int


@click.command()
@with_source
@click.option("--replay", "action", flag_value="replay", help="Try those that are listed again.")
@click.option("--drop", "action", flag_value="drop", help="Give those that are listed up, for good: they are lost.")
@click.option("--yes", is_flag=True, help="Do not ask before dropping.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def letters(source: Source, action: Action | None, yes: bool, as_json: bool) -> None:  # noqa: FBT001 (click passes flags so)
    """List dead letters: writes that one disk acknowledged (`write: one`) and could not bring to the other owners.

    Each is told with the reason: the bucket was deleted meanwhile, the bytes are damaged, or it was tried for days.
    They stay on their disk until they are replayed or dropped. All of them are listed, and those alone that were listed
    are replayed or dropped: what becomes a dead letter meanwhile stays for the next time.
    """
    doors = source.doors()
    with doors.http:
        found, owed = _listed(doors)
        lines = [f"{name}: {letter}" for name, held in found.items() for letter in held]
        if not as_json:
            print(*lines, sep="\n", end="\n" if lines else "")
        if action == "drop" and lines and not yes:
            click.confirm(f"{len(lines)} dead letters are dropped, and what they hold with them. Go on?", abort=True)
        settled = 0 if action is None else _settle(doors, found, action)
    size = sum(letter.bytes for held in found.values() for letter in held)
    done = "" if action is None else f"; {settled} {_DONE[action]}"
    document = {
        "action": action or "list",
        "count": len(lines),
        "bytes": size,
        "owed": owed,
        "settled": settled,
        "letters": lines,
    }
    Output(as_json).show(document, f"{len(lines)} dead letters, {size_text(size)}{done}; {owed} owed")
    if lines and action is None:
        raise CliError("there are dead letters: replay or drop them", Exit.FAILURE)


def _listed(doors: Doors) -> tuple[dict[str, list[_Letter]], int]:
    """Every dead letter by the node that holds it, and how many writes are owed besides; CliError."""
    found: dict[str, list[_Letter]] = {}
    owed = 0
    for name, address in sorted(doors.addresses.items()):
        found[name] = []
        page = ask(doors.http, address, doors.secret, "/v1/letters", _Page, post=_Ask())
        found[name] += page.letters
        while page.next is not None:
            page = ask(doors.http, address, doors.secret, "/v1/letters", _Page, post=_Ask(after=page.next))
            found[name] += page.letters
        owed += page.owed
    return found, owed


def _settle(doors: Doors, found: dict[str, list[_Letter]], action: Action) -> int:
    """Replay or drop these; how many were dead letters still."""
    settled = 0
    for name, held in found.items():
        for start in range(0, len(held), _AT_ONCE):
            wish = _Settle(action=action, letters=tuple(letter.id for letter in held[start : start + _AT_ONCE]))
            address = doors.addresses[name]
            settled += ask(doors.http, address, doors.secret, "/v1/letters/settle", _Settled, post=wish).settled
    return settled
