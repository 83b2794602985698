"""For all tests: what `pytest.mark.xdist_group` keeps together is kept together, or nothing runs."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """See that each group has come into its tests' ids, by which pytest-xdist goes; with pytest 9.2 it has not."""
    if getattr(config.option, "loadgroup", False):
        lost = [item.nodeid for item in items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if lost:
            raise RuntimeError(f"pytest-xdist has lost the groups of {lost}")
