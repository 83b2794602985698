"""The CSI driver by itself: its own tests, and the CSI specification's suite, which are written in Go."""

import os
from pathlib import Path

import pytest

from moln_lab.commands import run

DRIVER = Path(__file__).resolve().parents[2] / "lab" / "csi"


@pytest.mark.lab
@pytest.mark.xdist_group("second lab")  # it mounts, and those tests look at what is mounted
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts volumes: needs root")
def test_the_driver_is_what_the_specification_asks_for() -> None:
    """`go test` passes, and it did run the suite (it skips itself where it can't mount)."""
    said = run(
        ["go", "test", "-trimpath", "-v", "-count=1", "./driver"], cwd=DRIVER, env={"CGO_ENABLED": "0"}, timeout=600
    )
    assert "--- PASS: TestSanity" in said
    assert "SKIP" not in said
