"""What commands print: a line for people, or one JSON document a line with --json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024


@dataclass(frozen=True, slots=True)
class Output:
    """Standard output in the form that was asked for."""

    as_json: bool

    def show(self, document: Mapping[str, Any], text: str) -> None:
        """Print one result: `document` with --json, `text` otherwise (nothing where it is empty)."""
        if self.as_json:
            print(json.dumps(document, default=_plain, ensure_ascii=False), flush=True)
        elif text:
            print(text)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def size_text(size: int) -> str:
    """A size for people: 1.5 MiB."""
    amount, unit = float(size), _UNITS[0]
    for unit in _UNITS:  # noqa: B007 (the unit where it stops is what is printed)
        if amount < _STEP:
            break
        amount /= _STEP
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def time_text(moment: datetime) -> str:
    """A time for people, in their own zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def printable(key: str) -> str:
    """A key that cannot break the line or the terminal it is printed on."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in key)
