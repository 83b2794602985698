"""Where a page of a listing begins and ends: bounds of keys, as UTF-8 bytes. Pure."""

from __future__ import annotations


def first_key(prefix: bytes, delimiter: bytes, after: bytes) -> bytes:
    """The first key that a page may hold: behind `after` or its whole group, not before `prefix`."""
    if not after or after < prefix:
        return prefix
    cut = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    if cut >= 0 and cut + len(delimiter) == len(after):
        return _past(after)
    return after + b"\0"


def end_of(prefix: bytes) -> bytes:
    """The first key behind all those that begin with `prefix`; behind all keys where it is empty."""
    return _past(prefix) if prefix else b"\xff"


def _past(prefix: bytes) -> bytes:
    """The first key behind all those that begin with `prefix`: UTF-8 has no byte 0xff, so the last one can grow."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
