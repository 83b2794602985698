"""Real node processes, ended when the test has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.node.process.harness import Node, Nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Node processes of one folder."""
    found = Nodes(tmp_path)
    yield found
    found.end()


@pytest.fixture
def node(nodes: Nodes) -> Node:
    """One node that serves."""
    return nodes.start()


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for the tests of a module that leave it as it was."""
    found = Nodes(tmp_path_factory.mktemp("shared"))
    yield found.start()
    found.end()
