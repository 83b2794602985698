"""Versions: one total order on every node, that text and bytes keep and that no clock turns back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln_spec.version import InvalidVersionError, Version

VERSIONS = st.builds(Version, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))


@given(VERSIONS, VERSIONS)
def test_bytes_and_text_sort_as_versions_do(one: Version, other: Version) -> None:
    """Whoever compares ids, bytes or versions comes to the same answer."""
    assert (one < other) == (one.to_bytes() < other.to_bytes()) == (one.encode() < other.encode())


@given(VERSIONS)
def test_what_is_written_is_read(version: Version) -> None:
    """Both forms come back as they were."""
    assert Version.from_bytes(version.to_bytes()) == version
    assert Version.decode(version.encode()) == version


@given(st.text(max_size=24))
def test_nonsense_is_no_version(text: str) -> None:
    """Any text either is one that `encode` writes, or is refused with the one error."""
    with contextlib.suppress(InvalidVersionError):
        assert Version.decode(text).encode() == text


@pytest.mark.parametrize("text", ["", "0" * 19, "0" * 21, "0" * 19 + "1", "Z" * 20, "w" * 20, "null", "é" * 20])
def test_near_misses_are_refused(text: str) -> None:
    """Wrong length, upper case, letters outside the alphabet, bits that no version has."""
    with pytest.raises(InvalidVersionError):
        Version.decode(text)
    with pytest.raises(InvalidVersionError):
        Version.from_bytes(text.encode())


@given(
    st.one_of(st.none(), VERSIONS.filter(lambda v: v.stamp < 2**63)), st.integers(0, 2**47), st.integers(0, 2**32 - 1)
)
def test_the_next_version_is_newer_and_not_behind_the_clock(newest: Version | None, now_ms: int, node: int) -> None:
    """Whatever the wall clock says, and however far ahead another node was."""
    version = Version.after(newest, now_ms, node)
    assert newest is None or version > newest
    assert version.milliseconds >= now_ms
    assert version.node == node
