"""The dashboards as Grafana reads them, by the types that it publishes; and nothing without a word."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard, units
from tests.monitoring.conftest import DASHBOARDS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

register_default_plugins()

UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
"""Grafana's list."""

GONE = {"graph", "singlestat", "table-old", "heatmap-old"}
"""Panels of Angular, which Grafana 12 no longer has."""

SHOWN_BY_THE_EDITOR_ALONE = "definition"
"""Of a variable: its query as the list of variables shows it. Grafana exports it, and its published model lacks it."""


def board(path: Any) -> dict[str, Any]:
    """A dashboard."""
    return dict(json.loads(path.read_text()))


def panels() -> list[Any]:
    """Every panel of every dashboard that shows something."""
    return [
        pytest.param(panel, id=f"{path.stem}-{panel['title']}")
        for path in DASHBOARDS
        for panel in board(path)["panels"]
        if panel["type"] != "row"
    ]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_imported(path: Any) -> None:
    """It has what an import asks for, no id of somebody's database, and variables, the data source first."""
    found = board(path)
    assert "id" not in found
    assert 38 <= found["schemaVersion"] <= 42
    assert found["uid"] == path.stem
    assert found["title"].startswith("moln / ")
    assert found["description"]
    source, *others = found["templating"]["list"]
    assert (source["type"], source["name"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert next(variable["name"] for variable in others) == "namespace"
    assert all(variable["type"] == "query" and variable["label"] for variable in others)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_stand_side_by_side(path: Any) -> None:
    """Ids are unique, nothing leaves the grid of 24 columns, nothing covers another panel."""
    found = board(path)["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    cells: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in found):
        assert place["x"] + place["w"] <= 24
        mine = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not mine & cells
        cells |= mine


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where a document says something that is not in what was made of it."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            if name not in kept:
                yield f"{path}.{name}"
            else:
                yield from lost(value, kept[name], f"{path}.{name}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, pair in enumerate(zip(given, kept, strict=True)):
            yield from lost(*pair, f"{path}[{number}]")
    elif given != kept:
        yield f"{path}: {given!r} is not {kept!r}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafanas_own_model_has_all_of_it(path: Any) -> None:
    """Read into the types that Grafana makes of its schemas, options of panels included, and back: nothing is lost."""
    given = board(path)
    kept = json.loads(json.dumps(dashboard.Dashboard.from_json(given), cls=JSONEncoder))
    assert [place for place in lost(given, kept) if not place.endswith(SHOWN_BY_THE_EDITOR_ALONE)] == []


@pytest.mark.parametrize("panel", panels())
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """A current kind of panel; a unit, a description, a word for no data; a source to choose."""
    assert panel["type"] not in GONE
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    assert defaults["noValue"]
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert defaults["thresholds"]["steps"][0]["value"] is None
    assert panel["targets"]
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert all(target["instant"] != target["range"] for target in panel["targets"])


def test_the_files_are_what_the_code_makes() -> None:
    """Nobody edits the JSON by hand, and nobody forgets to make it anew."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "monitoring" / "build.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
