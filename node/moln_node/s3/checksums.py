"""S3's additional checksums: the algorithms, what a request declares, and how those of parts become an object's.

Pure. `digests` runs the algorithms over a body; `multipart` joins the checksums of parts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from awscrt import checksums as crt  # type: ignore[import-untyped]  # ships no type information

from moln_node.s3.errors import S3Error
from moln_node.store.model import Checksum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from moln_node.store.model import Part

FULL_OBJECT: Final = "FULL_OBJECT"
COMPOSITE: Final = "COMPOSITE"
TYPES: Final = (FULL_OBJECT, COMPOSITE)
HEADER_PREFIX: Final = "x-amz-checksum-"
TYPE_HEADER: Final = "x-amz-checksum-type"
DEFAULT_ALGORITHM: Final = "CRC64NVME"


class Hasher(Protocol):
    """A digest that is taken piece by piece, as hashlib's are."""

    def update(self, data: bytes, /) -> None:
        """Take the next piece."""
        ...

    def digest(self) -> bytes:
        """The digest of what was taken so far."""
        ...


class _Crc:
    """A cyclic redundancy check as a Hasher."""

    __slots__ = ("_function", "_value", "_width")

    def __init__(self, function: Callable[[bytes, int], int], width: int) -> None:
        self._function, self._width, self._value = function, width, 0

    def update(self, data: bytes, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._width, "big")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A checksum algorithm: its name, the bytes of a digest, and `combine`, which CRCs have and hashes have not.

    `combine(first, second, length)` is the CRC of two runs of bytes from the CRC of each and the length of the second.
    """

    name: str
    width: int
    new: Callable[[], Hasher]
    combine: Callable[[int, int, int], int] | None = None

    @property
    def header(self) -> str:
        """The header that carries a checksum of this algorithm."""
        return HEADER_PREFIX + self.name.lower()

    @property
    def element(self) -> str:
        """The XML element that carries it."""
        return f"Checksum{self.name}"

    @property
    def default_type(self) -> str:
        """What an upload gets that names this algorithm and no type."""
        return FULL_OBJECT if self.name == DEFAULT_ALGORITHM else COMPOSITE

    def allows(self, checksum_type: str) -> bool:
        """Whether a multipart object can have a checksum of this type: only CRCs combine, and CRC64NVME always does."""
        if checksum_type == FULL_OBJECT:
            return self.combine is not None
        return self.name != DEFAULT_ALGORITHM


ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("CRC32", 4, lambda: _Crc(zlib.crc32, 4), crt.combine_crc32),
        Algorithm("CRC32C", 4, lambda: _Crc(crt.crc32c, 4), crt.combine_crc32c),
        Algorithm("CRC64NVME", 8, lambda: _Crc(crt.crc64nvme, 8), crt.combine_crc64nvme),
        Algorithm("SHA1", 20, lambda: hashlib.sha1(usedforsecurity=False)),
        Algorithm("SHA256", 32, lambda: hashlib.sha256(usedforsecurity=False)),
    )
}
_OTHER_HEADERS: Final = frozenset({TYPE_HEADER, "x-amz-checksum-algorithm", "x-amz-checksum-mode"})
_BY_HEADER: Final = {algorithm.header: algorithm for algorithm in ALGORITHMS.values()}


@dataclass(frozen=True, slots=True)
class Declared:
    """The checksum that a request promises: its value is None while it is still to come in the trailer."""

    algorithm: Algorithm
    value: str | None

    def check(self, computed: str, trailer: str | None) -> None:
        """Raise BadDigest unless the promised value is what was computed."""
        promised = self.value if self.value is not None else trailer
        if promised is None:
            raise S3Error(
                "MalformedTrailerError", f"The trailer {self.algorithm.header} that was announced did not come."
            )
        if decode(self.algorithm, promised) != base64.b64decode(computed):
            raise S3Error(
                "BadDigest", f"The {self.algorithm.name} you specified did not match the calculated checksum."
            )


def algorithm_named(name: str, source: str) -> Algorithm:
    """The algorithm of this name, letter case ignored; InvalidRequest, which names the `source` header, if unknown."""
    algorithm = ALGORITHMS.get(name.upper())
    if algorithm is None:
        raise S3Error(
            "InvalidRequest",
            f"Checksum algorithm provided is unsupported: {source} is one of {', '.join(ALGORITHMS)}.",
        )
    return algorithm


def decode(algorithm: Algorithm, value: str) -> bytes:
    """The digest in a header, trailer or element; BadDigest if it is not base64 of the algorithm's length."""
    try:
        raw = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != algorithm.width:
        raise S3Error("BadDigest", f"Value for {algorithm.header} header is invalid: it is no {algorithm.name}.")
    return raw


def encode(raw: bytes) -> str:
    """A digest as S3 shows it."""
    return base64.b64encode(raw).decode("ascii")


def declared(headers: Mapping[str, str]) -> Declared | None:
    """The one checksum that the headers of a put or of a part declare, by value or by trailer; None without one."""
    _refuse_unknown(headers)
    found = [(algorithm, headers[header]) for header, algorithm in _BY_HEADER.items() if header in headers]
    if len(found) > 1:
        raise _single()
    trailing = _announced(headers.get("x-amz-trailer", ""))
    if found and trailing:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header, or a trailer, not both.")
    if found:
        algorithm, value = found[0]
        decode(algorithm, value)
        result: Declared | None = Declared(algorithm, value)
    else:
        result = Declared(trailing, None) if trailing else None
    _check_sdk_algorithm(headers.get("x-amz-sdk-checksum-algorithm"), result)
    return result


def of_object(headers: Mapping[str, str]) -> tuple[Algorithm, str] | None:
    """The checksum that a completion promises of the whole object, without the count of parts; InvalidRequest.

    Its value is not checked for its form: one that cannot be right is a wrong one.
    """
    _refuse_unknown(headers)
    found = [(algorithm, headers[header]) for header, algorithm in _BY_HEADER.items() if header in headers]
    if not found:
        return None
    if len(found) > 1:
        raise _single()
    algorithm, value = found[0]
    return algorithm, value.strip().partition("-")[0]


def _refuse_unknown(headers: Mapping[str, str]) -> None:
    """A promise that cannot be held is not taken: checksums of other algorithms are refused, not ignored."""
    for name in headers:
        header = name.lower()
        if header.startswith(HEADER_PREFIX) and header not in _BY_HEADER and header not in _OTHER_HEADERS:
            raise S3Error(
                "InvalidRequest", f"Checksum algorithm provided is unsupported: {header}. Use {', '.join(ALGORITHMS)}."
            )


def _single() -> S3Error:
    return S3Error(
        "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )


def _announced(trailer: str) -> Algorithm | None:
    """The algorithm of the checksum that x-amz-trailer announces."""
    names = [name.strip().lower() for name in trailer.split(",") if name.strip()]
    unknown = [name for name in names if name not in _BY_HEADER]
    if unknown:
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    if len(names) > 1:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- trailer.")
    return _BY_HEADER[names[0]] if names else None


def _check_sdk_algorithm(name: str | None, result: Declared | None) -> None:
    """Hold x-amz-sdk-checksum-algorithm, where it is given, against the checksum that came."""
    if name is None:
        return
    algorithm = algorithm_named(name, "x-amz-sdk-checksum-algorithm")
    if result is None:
        raise S3Error(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers"
            " were found.",
        )
    if result.algorithm is not algorithm:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")


def of_parts(algorithm: Algorithm, checksum_type: str, parts: Sequence[Part]) -> Checksum | None:
    """The checksum of an object from those of its parts, in order; None where a part has none of this algorithm."""
    if any(part.checksum is None or part.checksum.algorithm != algorithm.name for part in parts):
        return None
    digests = [decode(algorithm, part.checksum.value) for part in parts if part.checksum is not None]
    if checksum_type == FULL_OBJECT:
        return _combined(algorithm, zip(digests, (part.size for part in parts), strict=True))
    hasher = algorithm.new()
    hasher.update(b"".join(digests))
    return Checksum(algorithm.name, f"{encode(hasher.digest())}-{len(digests)}", COMPOSITE)


def _combined(algorithm: Algorithm, runs: Iterable[tuple[bytes, int]]) -> Checksum | None:
    """The CRC of runs of bytes, from the CRC and the length of each."""
    if algorithm.combine is None:
        return None
    total = 0
    for digest, length in runs:
        total = algorithm.combine(total, int.from_bytes(digest, "big"), length)
    return Checksum(algorithm.name, encode(total.to_bytes(algorithm.width, "big")), FULL_OBJECT)
