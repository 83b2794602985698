"""The checksum that everything on the disk carries: xxh3 of 64 bits, seeded with where the bytes belong.

A seed makes right bytes at a wrong place (a misdirected write, a stale page) as wrong as flipped bits. It guards
against disks, not against people: what needs a cryptographic hash (deduplication) uses one.
"""

from __future__ import annotations

from typing import Final

from xxhash import xxh3_64_digest, xxh3_64_intdigest

_SPREAD: Final = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: neighbouring ids get seeds that are far apart
_MASK: Final = 2**64 - 1
LENGTH: Final = 8
"""Bytes of a checksum as `seal` writes it."""


def seed(place: int, part: int = 0) -> int:
    """The seed for part number `part` of the thing whose number is `place`."""
    return (place * _SPREAD + part) & _MASK


def of(data: bytes | bytearray | memoryview, seed_: int) -> int:
    """The checksum of `data`, as a number of 64 bits."""
    return xxh3_64_intdigest(data, seed_)


def seal(payload: bytes, identity: bytes) -> bytes:
    """`payload` behind a checksum that covers it and what it belongs to."""
    return xxh3_64_digest(identity + payload) + payload


def unseal(sealed: bytes, identity: bytes) -> bytes | None:
    """The payload that `seal` was given for this identity; None if one bit of either is not as it was."""
    payload = sealed[LENGTH:]
    return payload if xxh3_64_digest(identity + payload) == sealed[:LENGTH] else None
