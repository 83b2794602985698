"""A call takes its deadline along: what nobody waits for any more ends on the node that was asked, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.cluster.test_repair import three

from moln_node.cluster.errors import PeerError
from moln_node.cluster.messages import Ask
from moln_node.store.registers import KeyState

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_question_ends_with_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was asked and where it is answered, though neither knows the other's clock."""
    ended = asyncio.Event()

    async def slow(_: Ask) -> KeyState:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return KeyState()

    async with three(tmp_path) as (clusters, where):
        other = clusters[1].members
        monkeypatch.setattr(other.own, "state", slow)
        there = clusters[0].members.replica(other.me)
        with pytest.raises(PeerError):
            await there._call("ask", Ask(where), KeyState, 0.2)  # type: ignore[attr-defined]  # another node's alone has it
        async with asyncio.timeout(5):
            await ended.wait()
