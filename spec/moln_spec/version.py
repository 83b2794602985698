"""Version order: which of two writes to a key is the newer one, on every node and for ever.

A version is a hybrid logical clock stamp (Kulkarni et al., "Logical Physical Clocks", 2014) with the number of the
node that made it. It is the version of a record, and in a versioned bucket the S3 version id.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Final

_LOGICAL_BITS: Final = 16
_LAYOUT: Final = struct.Struct(">QI")
_ENCODED_LENGTH: Final = 20


class InvalidVersionError(ValueError):
    """The text is not a version that `Version.encode` wrote."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """One point in the total order of writes: compares by stamp, then by node number.

    Attributes:
        stamp: milliseconds since 1970 in the upper 48 bits, a logical counter in the lower 16.
        node: the number of the node in the cloud map, 0 to 2**32 - 1.
    """

    stamp: int
    node: int

    @property
    def milliseconds(self) -> int:
        """The physical part of the stamp: milliseconds since 1970, never behind the clock that made it."""
        return self.stamp >> _LOGICAL_BITS

    def to_bytes(self) -> bytes:
        """Twelve bytes that sort as versions do."""
        return _LAYOUT.pack(self.stamp, self.node)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Version:
        """The version of twelve bytes from `to_bytes`."""
        try:
            return cls(*_LAYOUT.unpack(raw))
        except struct.error as error:
            raise InvalidVersionError("a version has 12 bytes") from error

    def encode(self) -> str:
        """Twenty lower-case characters that sort as versions do (base32hex of `to_bytes`): the S3 version id."""
        return base64.b32hexencode(self.to_bytes()).decode().rstrip("=").lower()

    @classmethod
    def decode(cls, text: str) -> Version:
        """The version that `encode` wrote as `text`; InvalidVersionError if it is none."""
        if len(text) != _ENCODED_LENGTH or text != text.lower():
            raise InvalidVersionError(f"not a version id: {text[:40]!r}")
        try:
            version = cls.from_bytes(base64.b32hexdecode(text.upper() + "===="))
        except ValueError as error:
            raise InvalidVersionError(f"not a version id: {text!r}") from error
        if version.encode() != text:
            raise InvalidVersionError(f"not a version id: {text!r}")
        return version

    @classmethod
    def after(cls, newest: Version | None, now_ms: int, node: int) -> Version:
        """The next version of `node` whose clock reads `now_ms`, newer than `newest` even if that is ahead."""
        physical = now_ms << _LOGICAL_BITS
        return cls(physical if newest is None else max(physical, newest.stamp + 1), node)
