"""Histories of concurrent clients under faults, held against the model of a register by a linearizability checker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.cluster.history import History
from tests.cluster.soak import soak

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.crash


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("nodes", "seed"), [(3, 102), (5, 31)])
async def test_a_cloud_under_faults_is_linearizable(tmp_path: Path, nodes: int, seed: int) -> None:
    """Every answer of every node fits one order of all writes; afterwards all nodes agree, and lists show the same.

    The faults are those of one seed; `make soak` is for others, and for longer.
    """
    history = await soak(tmp_path, 20.0, nodes, seed)
    code, said = history.check()
    assert code == 0, f"seed {seed}: {said} (history {history.path})"
    assert history.counts["put done"] > 20, history.counts


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("seed", "apart"), [(7, False), (8, True)])
async def test_a_cloud_that_changes_under_faults_is_linearizable(tmp_path: Path, seed: int, *, apart: bool) -> None:
    """The same while nodes come and go, and weights and copies change, and where bodies are apart from records."""
    history = await soak(tmp_path, 25.0, 3, seed, spares=2, apart=apart)
    code, said = history.check()
    assert code == 0, f"{said} (history {history.path})"
    assert history.counts["put done"] > 20, history.counts


@pytest.mark.timeout(400)
@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own for each node needs root")
async def test_a_cloud_whose_clocks_and_disks_fail_is_linearizable(tmp_path: Path) -> None:
    """The same where clocks jump too, disks are full, and bits of one of them flip."""
    history = await soak(tmp_path, 20.0, 4, 12, harsh=True)
    code, said = history.check()
    assert code == 0, f"{said} (history {history.path})"
    assert history.counts["put done"] > 20, history.counts


@pytest.mark.timeout(400)
async def test_a_cloud_whose_bodies_are_apart_is_linearizable(tmp_path: Path) -> None:
    """The same where bodies live on some of the nodes only, and are dropped soon after nothing names them."""
    history = await soak(tmp_path, 20.0, 5, 3, apart=True)
    code, said = history.check()
    assert code == 0, f"{said} (history {history.path})"
    assert history.counts["put done"] > 20, history.counts


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("operations", "linearizable"),
    [
        ([("put", "a", "", "done", 0, 1), ("get", "a", "", "value", 2, 3)], True),
        ([("put", "a", "", "done", 0, 1), ("get", "", "", "value", 2, 3)], False),  # a read of before
        ([("put", "a", "", "unknown", 0, 1), ("get", "", "", "value", 2, 3), ("get", "a", "", "value", 4, 5)], True),
        (
            [
                ("put", "a", "", "done", 0, 1),
                ("put", "b", "", "done", 2, 9),
                ("get", "b", "", "value", 3, 4),
                ("get", "a", "", "value", 5, 6),  # back in time
            ],
            False,
        ),
        ([("put", "a", "absent", "done", 0, 1), ("put", "b", "absent", "done", 2, 3)], False),  # both were first
        ([("put", "a", "absent", "done", 0, 1), ("put", "b", "absent", "refused", 2, 3)], True),
    ],
)
def test_the_checker_can_tell(
    tmp_path: Path, operations: list[tuple[str, str, str, str, int, int]], *, linearizable: bool
) -> None:
    """The checker takes what is right and refuses what is wrong."""
    history = History(tmp_path / "history.jsonl")
    for client, (kind, value, condition, result, call, end) in enumerate(operations):
        line: dict[str, str | int] = {"op": kind, "value": value, "condition": condition, "expect": "", "key": "k"}
        history.add(**line, client=client, result=result, call=call, **{"return": end})
    history.close()
    assert (history.check()[0] == 0) is linearizable
