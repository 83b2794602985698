"""Kubernetes quantities (`100Gi`, `1.5T`, `500m`) as users write them for sizes, and a short form for people."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_PATTERN: Final = r"^\+?[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_SHAPE: Final = re.compile(_PATTERN)
_SUFFIXES: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_SHORT_UNITS: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


class InvalidQuantityError(ValueError):
    """The text is not a Kubernetes quantity."""


def parse(text: str) -> Decimal:
    """The number that a quantity stands for; InvalidQuantityError if it is none."""
    found = _SHAPE.match(text)
    if found is None:
        raise InvalidQuantityError(f"{text!r} is not a quantity; write a number with a unit, such as 100Gi")
    suffix = found.group(2) or ""
    return Decimal(text[: len(text) - len(suffix)]) * _SUFFIXES[suffix]


def to_bytes(text: str) -> int:
    """The whole bytes that a quantity stands for."""
    return int(parse(text))


def short(size: int) -> str:
    """`size` bytes for a table: three digits and a binary unit, such as `1.25Gi`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_SHORT_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g}{_SHORT_UNITS[unit]}"


def about(seconds: float) -> str:
    """A length of time that is an estimate, for people, rounded up: `about 40 s`, `about 3 min`, `about 2.5 h`."""
    if seconds <= 50:
        return f"about {max(10, math.ceil(seconds / 10) * 10)} s"
    if seconds <= 59 * 60:
        return f"about {math.ceil(seconds / 60)} min"
    return f"about {math.ceil(seconds / 1800) / 2:g} h"


def _checked(text: str) -> str:
    parse(text)
    return text


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    BeforeValidator(_as_text),
    AfterValidator(_checked),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
]
"""A quantity that may be written as a bare number, as in `cpu: 2`."""

Size = Annotated[
    str,
    AfterValidator(_checked),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "maxLength": 32}),
]
"""A quantity of bytes, always written with its unit or in quotes."""
