"""Stores of unit tests lie in memory: what an fsync brings to a disk is proved by the crash tests, on real disks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory where the system has that, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="moln-", dir=_MEMORY if _MEMORY.is_dir() else None) as path:
        yield Path(path)
