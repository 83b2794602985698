"""How a file is cut into parts. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024
SMALLEST: Final = 5 * MIB  # S3: every part but the last
MOST: Final = 10_000
DEFAULT: Final = 8 * MIB


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` up to, not including, `end` of a file; numbers begin at 1."""

    number: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes in this part."""
        return self.end - self.start


def part_size(size: int, wanted: int = DEFAULT) -> int:
    """The part size for a file: as wanted, or larger (whole MiB) where there would be too many parts."""
    least = -(-size // MOST)
    return max(wanted, SMALLEST, -(-least // MIB) * MIB)


def cut(size: int, each: int) -> list[Part]:
    """The parts of a file of `size` bytes; an empty file is one empty part."""
    starts = range(0, size, each) if size else range(1)
    return [Part(number, start, min(start + each, size)) for number, start in enumerate(starts, 1)]
