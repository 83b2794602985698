"""Where a command's endpoint and keys come from, and the pure steps of transfers."""

from __future__ import annotations

import base64
import hashlib
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from moln.connection import Connection, Flags, resolve
from moln.errors import CliError
from moln.output import printable, size_text
from moln.profiles import Profile
from moln.transfer.checksums import expected
from moln.transfer.contenttype import by_name
from moln.transfer.items import path_below
from moln.transfer.parts import MIB, MOST, cut, part_size

if TYPE_CHECKING:
    from pathlib import Path

PROFILES = {
    "dev": Profile(endpoint="http://dev:1", access_key="DEVKEY", secret_key=SecretStr("dev-secret")),
    "far": Profile(endpoint="http://far:1/", access_key="FARKEY", secret_key=SecretStr("far-secret"), region="eu"),
}
KEYS = {"AWS_ACCESS_KEY_ID": "ENVKEY", "AWS_SECRET_ACCESS_KEY": "env-secret"}


@pytest.mark.parametrize(
    ("flags", "environment", "endpoint", "access_key"),
    [
        (Flags(), {}, "http://dev:1", "DEVKEY"),
        (Flags(), KEYS, "http://dev:1", "DEVKEY"),  # keys of another place are not sent to a profile's endpoint
        (Flags(), {"MOLN_PROFILE": "far"}, "http://far:1", "FARKEY"),
        (Flags(), {"MOLN_ENDPOINT": "http://env:1", **KEYS}, "http://env:1", "ENVKEY"),
        (Flags(), {"AWS_ENDPOINT_URL": "http://aws:1", **KEYS}, "http://aws:1", "ENVKEY"),
        (Flags(profile="far"), {"MOLN_ENDPOINT": "http://env:1", **KEYS}, "http://far:1", "FARKEY"),
        (Flags(endpoint="http://flag:1"), KEYS, "http://flag:1", "ENVKEY"),
        (Flags(access_key="A", secret_key="b"), {}, "http://dev:1", "A"),
    ],
)
def test_endpoint_and_keys_come_from_one_place(
    flags: Flags, environment: dict[str, str], endpoint: str, access_key: str
) -> None:
    """Profile by name, then flags and environment, then the default profile; keys follow the endpoint."""
    found = resolve(flags, environment, PROFILES.get)
    assert (found.endpoint, found.access_key) == (endpoint, access_key)


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (Flags(profile="none"), {}),
        (Flags(endpoint="http://x:1"), {}),
        (Flags(endpoint="x:1"), KEYS),
        (Flags(endpoint="ftp://x"), KEYS),
        (Flags(endpoint="http://"), KEYS),
    ],
)
def test_a_connection_that_is_not_whole_is_refused(flags: Flags, environment: dict[str, str]) -> None:
    """Better no request than one to the wrong place."""
    with pytest.raises(CliError):
        resolve(flags, environment, PROFILES.get)


def test_secrets_do_not_show() -> None:
    """A connection or profile that is printed by accident shows no secret."""
    shown = (
        repr(Connection("http://x", "A", "my-secret", "r", "o")) + repr(PROFILES) + repr(Flags(secret_key="my-secret"))
    )
    assert "my-secret" not in shown
    assert "dev-secret" not in shown


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 8 * MIB, 80 * 1024 * MIB, 5 * 1024 * 1024 * MIB])
def test_parts_cover_a_file_within_s3s_bounds(size: int) -> None:
    """Every byte once, in order; at most 10,000 parts, none but the last below 5 MiB, up to 5 TiB."""
    each = part_size(size)
    parts = cut(size, each)
    assert len(parts) <= MOST
    assert parts[0].start == 0
    assert parts[-1].end == size
    assert all(a.end == b.start and a.number + 1 == b.number and a.size == each for a, b in pairwise(parts))
    assert each >= 5 * MIB


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("head", "algorithm"),
    [
        ({"ChecksumCRC32": _b64(zlib.crc32(b"data").to_bytes(4, "big")), "ChecksumType": "FULL_OBJECT"}, "CRC32"),
        ({"ChecksumSHA256": _b64(hashlib.sha256(b"data").digest())}, "SHA256"),
        ({"ChecksumCRC32C": _b64(bytes.fromhex("aed87dd1"))}, "CRC32C"),
        ({"ChecksumCRC32": "AAAAAA==-3", "ChecksumType": "COMPOSITE"}, "MD5"),
        ({}, "MD5"),
    ],
)
def test_a_file_is_compared_with_the_best_that_the_cloud_says(
    head: dict[str, Any], algorithm: str, tmp_path: Path
) -> None:
    """A checksum of the whole object first, then the ETag; a file that differs by a bit does not match."""
    (tmp_path / "f").write_bytes(b"data")
    whole = {"ETag": f'"{hashlib.md5(b"data").hexdigest()}"', "ContentLength": 4, **head}  # noqa: S324 (S3's ETag)
    found = expected(whole, dict)
    assert found is not None
    assert found.algorithm == algorithm
    assert found.matches(tmp_path / "f")
    (tmp_path / "f").write_bytes(b"dAta")
    assert not found.matches(tmp_path / "f")


def test_an_etag_that_says_nothing_of_the_bytes_is_not_compared() -> None:
    """Encrypted objects and parts of unequal size have ETags that no file can be compared with."""
    assert expected({"ETag": '"abc"', "ContentLength": 4}, dict) is None
    assert expected({"ETag": f'"{"0" * 32}-3"', "ContentLength": 4}, lambda: {"ContentLength": 4}) is None
    assert expected({"ETag": f'"{"0" * 32}"', "ContentLength": 4, "ServerSideEncryption": "aws:kms"}, dict) is None


@pytest.mark.parametrize("key", ["..", "../x", "a/../b", "a//b", "/a", ".", "a/.", "", "/", "a\0b", "x" * 256])
def test_keys_that_are_no_paths_below_a_folder(key: str, tmp_path: Path) -> None:
    """Each would be another file, or none."""
    assert path_below(tmp_path, key) is None


@pytest.mark.parametrize("key", ["a", "a/b", "...", "..a", "a b", "ä", "-", "a\nb", "x" * 255, "a/"])
def test_keys_that_are_paths_below_a_folder(key: str, tmp_path: Path) -> None:
    """Odd, but the file that the key names."""
    assert path_below(tmp_path, key) == tmp_path.joinpath(*key.strip("/").split("/"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.JPG", "image/jpeg"),
        ("a.tar.gz", "application/gzip"),
        ("Makefile", None),
        ("a", None),
    ],
)
def test_the_name_alone_tells_the_content_type(name: str, kind: str | None) -> None:
    """And where it tells none, none is claimed."""
    assert by_name(name) == kind


def test_output_is_safe_for_a_terminal() -> None:
    """A key cannot move the cursor or forge a line; sizes are short."""
    assert printable("a\x1b[2Jb\nc\u202ed ö") == "a\\x1b[2Jb\\nc\\u202ed ö"
    assert [size_text(size) for size in (0, 1023, 1024, 1536, 5 * 1024**4)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "5.0 TiB",
    ]
