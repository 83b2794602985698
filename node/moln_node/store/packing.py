"""How the bytes of an object are packed on this disk: a word that its record keeps, what its class asked for then.

Compared with what the class asks for today, so that rewriting finds what is packed otherwise, and does nothing twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moln_node.store import inline

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN: Final = ""
"""Written before records kept it, or put together from parts that were packed in different ways."""


def packing(size: int, level: int | None, *, deduplicate: bool, small: bool = True) -> str:
    """The word for a body of `size` bytes that is taken in with these settings; see `Store.take`."""
    name = "plain" if level is None else f"zstd-{level}"
    return f"{name}, chunks" if deduplicate and not (small and size <= inline.LIMIT) else name


def common(words: Iterable[str]) -> str:
    """The word for bytes that are packed so piece by piece."""
    different = set(words)
    return different.pop() if len(different) == 1 else UNKNOWN
