"""Checksum algorithms and what a request declares of them, as pure functions."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln_node.s3 import checksums
from moln_node.s3.errors import S3Error
from moln_node.store.model import Checksum, Part

# The check values that the catalogue of CRC algorithms gives for the nine bytes "123456789".
CHECK = {"CRC32": 0xCBF43926, "CRC32C": 0xE3069283, "CRC64NVME": 0xAE8B14860A799888}


def digest(name: str, data: bytes) -> str:
    """The checksum of some bytes, as S3 shows it."""
    hasher = checksums.ALGORITHMS[name].new()
    hasher.update(data)
    return checksums.encode(hasher.digest())


@pytest.mark.parametrize("name", CHECK)
def test_crcs_give_the_catalogues_check_values(name: str) -> None:
    """Each CRC is the one of that name: polynomial, reflection and byte order."""
    width = checksums.ALGORITHMS[name].width
    assert base64.b64decode(digest(name, b"123456789")) == CHECK[name].to_bytes(width, "big")


def test_hashes_are_hashlibs() -> None:
    """SHA1 and SHA256 are what they are called."""
    assert base64.b64decode(digest("SHA1", b"abc")) == hashlib.sha1(b"abc", usedforsecurity=False).digest()
    assert base64.b64decode(digest("SHA256", b"abc")) == hashlib.sha256(b"abc").digest()


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.sampled_from(sorted(CHECK)))
def test_a_full_object_checksum_of_parts_is_that_of_the_whole(runs: list[bytes], name: str) -> None:
    """Combining the CRCs of any cut of some bytes gives the CRC of the bytes."""
    parts = [Part(n, len(run), "", 0, Checksum(name, digest(name, run))) for n, run in enumerate(runs, 1)]
    whole = checksums.of_parts(checksums.ALGORITHMS[name], checksums.FULL_OBJECT, parts)
    assert whole == Checksum(name, digest(name, b"".join(runs)), checksums.FULL_OBJECT)


def test_a_composite_checksum_is_the_checksum_of_checksums() -> None:
    """COMPOSITE digests the parts' digests and names their number."""
    parts = [Part(n, 1, "", 0, Checksum("CRC32", digest("CRC32", data))) for n, data in ((1, b"a"), (2, b"b"))]
    made = checksums.of_parts(checksums.ALGORITHMS["CRC32"], checksums.COMPOSITE, parts)
    joined = zlib.crc32(b"a").to_bytes(4, "big") + zlib.crc32(b"b").to_bytes(4, "big")
    expected = base64.b64encode(zlib.crc32(joined).to_bytes(4, "big")).decode() + "-2"
    assert made == Checksum("CRC32", expected, checksums.COMPOSITE)


def test_parts_without_the_algorithm_have_no_checksum() -> None:
    """One part whose checksum is of another kind leaves the object without one, never with a wrong one."""
    parts = [Part(1, 1, "", 0, Checksum("CRC32", digest("CRC32", b"a"))), Part(2, 1, "", 0, None)]
    assert checksums.of_parts(checksums.ALGORITHMS["CRC32"], checksums.COMPOSITE, parts) is None


def test_what_a_request_declares() -> None:
    """By header, by trailer, or not at all."""
    value = digest("CRC32C", b"x")
    assert checksums.declared({}) is None
    by_header = checksums.declared({"x-amz-checksum-crc32c": value, "x-amz-sdk-checksum-algorithm": "CRC32C"})
    assert by_header == checksums.Declared(checksums.ALGORITHMS["CRC32C"], value)
    by_trailer = checksums.declared({"x-amz-trailer": "x-amz-checksum-sha1"})
    assert by_trailer == checksums.Declared(checksums.ALGORITHMS["SHA1"], None)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-crc32c": "AAAAAA=="},
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-trailer": "x-amz-checksum-crc32"},
        {"x-amz-trailer": "x-amz-checksum-md4"},
        {"x-amz-checksum-xxhash64": "AAAAAAAAAAA="},
        {"x-amz-sdk-checksum-algorithm": "CRC32"},
        {"x-amz-sdk-checksum-algorithm": "MD4"},
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "SHA1"},
    ],
)
def test_declarations_that_make_no_sense_are_refused(headers: dict[str, str]) -> None:
    """Two of them, an unknown or a contradicting algorithm: InvalidRequest."""
    with pytest.raises(S3Error) as caught:
        checksums.declared(headers)
    assert caught.value.code == "InvalidRequest"


@pytest.mark.parametrize("value", ["AAAA", "not base64!", "", "AAAAAA==x"])
def test_a_promise_that_no_body_can_keep_is_a_bad_digest(value: str) -> None:
    """A wrong length, no base64: refused before a byte of the body is read."""
    with pytest.raises(S3Error) as caught:
        checksums.declared({"x-amz-checksum-crc32": value})
    assert caught.value.code == "BadDigest"


def test_a_promise_is_held_against_what_was_computed() -> None:
    """The same digest passes; another, or an announced trailer that never came, is refused."""
    promise = checksums.Declared(checksums.ALGORITHMS["CRC32"], digest("CRC32", b"x"))
    promise.check(digest("CRC32", b"x"), None)
    with pytest.raises(S3Error) as caught:
        promise.check(digest("CRC32", b"y"), None)
    assert caught.value.code == "BadDigest"
    announced = checksums.Declared(checksums.ALGORITHMS["CRC32"], None)
    announced.check(digest("CRC32", b"x"), digest("CRC32", b"x"))
    with pytest.raises(S3Error) as caught:
        announced.check(digest("CRC32", b"x"), None)
    assert caught.value.code == "MalformedTrailerError"
