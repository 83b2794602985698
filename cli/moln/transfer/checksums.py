"""Whether a file is what the cloud says the object is: its checksum where it has one, else its ETag."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from moln.transfer.parts import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_BLOCK: Final = 1024 * 1024
_MD5_LENGTH: Final = 32


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC in the shape of a hash."""

    def __init__(self, step: Callable[[bytes, int], int], width: int) -> None:
        self._step = step
        self._width = width
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


def _new_hash(algorithm: str) -> _Hash:
    if algorithm in ("MD5", "SHA1", "SHA256"):
        return hashlib.new(algorithm.lower(), usedforsecurity=False)
    if algorithm == "CRC32":
        return _Crc(zlib.crc32, 4)
    from awscrt import checksums  # type: ignore[import-untyped]  # noqa: PLC0415 (large, and only two need it)

    return _Crc(checksums.crc32c, 4) if algorithm == "CRC32C" else _Crc(checksums.crc64nvme, 8)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a file must hash to: `value` is the digest; `part_size` set for the MD5 of the parts' MD5s."""

    algorithm: str
    value: bytes
    part_size: int | None = None

    def matches(self, path: Path) -> bool:
        """Read the file and compare."""
        return (self._of_parts(path) if self.part_size else _of_file(path, self.algorithm)) == self.value

    def _of_parts(self, path: Path) -> bytes:
        whole = _new_hash(self.algorithm)
        for part in cut(path.stat().st_size, self.part_size or 0):
            whole.update(_of_file(path, self.algorithm, part.start, part.size))
        return whole.digest()


def _of_file(path: Path, algorithm: str, start: int = 0, size: int | None = None) -> bytes:
    digest = _new_hash(algorithm)
    with path.open("rb") as file:
        file.seek(start)
        left = size
        while block := file.read(_BLOCK if left is None else min(_BLOCK, left)):
            digest.update(block)
            left = None if left is None else left - len(block)
    return digest.digest()


def crc32_text(data: bytes) -> str:
    """The CRC32 of bytes, as S3 writes it."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def file_crc32_text(path: Path) -> str:
    """The CRC32 of a file, as S3 writes it."""
    return base64.b64encode(_of_file(path, "CRC32")).decode()


def expected(head: Mapping[str, Any], first_part: Callable[[], Mapping[str, Any]]) -> Expected | None:
    """What an object's head says of its bytes; None where it says nothing that can be compared.

    `first_part` asks for the head of part 1, whose length tells how a multipart object was cut.
    """
    if head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
        for algorithm in ("CRC32", "CRC64NVME", "CRC32C", "SHA256", "SHA1"):
            value = head.get(f"Checksum{algorithm}", "")
            if value and "-" not in value:
                return Expected(algorithm, base64.b64decode(value))
    digest, _, count = head["ETag"].strip('"').partition("-")
    if len(digest) != _MD5_LENGTH or head.get("ServerSideEncryption", "AES256") != "AES256":
        return None
    try:
        value = bytes.fromhex(digest)
        parts = int(count or 0)
    except ValueError:
        return None
    if not count:
        return Expected("MD5", value)
    each = int(first_part()["ContentLength"])
    if each and len(cut(head["ContentLength"], each)) == parts:
        return Expected("MD5", value, each)
    return None
