"""Lengths of time for people."""

from __future__ import annotations

import pytest

from moln_spec.quantity import about


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "about 10 s"),
        (10, "about 10 s"),
        (41, "about 50 s"),
        (51, "about 1 min"),
        (61, "about 2 min"),
        (59 * 60, "about 59 min"),
        (59 * 60 + 1, "about 1 h"),
        (2 * 3600 + 1, "about 2.5 h"),
    ],
)
def test_an_estimate_is_rounded_up(seconds: float, text: str) -> None:
    """Nobody is promised less than it takes."""
    assert about(seconds) == text
