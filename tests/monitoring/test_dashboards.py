"""The dashboards as Grafana reads them: its classic JSON model, current panels and units, nothing without a word."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import Any

import pytest
from tests.monitoring.conftest import DASHBOARDS, ROOT

PANELS = {"timeseries", "stat", "bargauge", "heatmap", "table", "row"}
"""Of those that Grafana has; `graph`, `singlestat`, `table-old` and others of Angular are gone from Grafana 12."""

UNITS = {"none", "short", "bytes", "Bps", "s", "percentunit", "reqps", "cps", "wps"}
"""Of Grafana's list (@grafana/data, valueFormats/categories)."""

OPTIONS = {
    "timeseries": {"legend", "tooltip"},
    "stat": {
        "colorMode",
        "graphMode",
        "justifyMode",
        "orientation",
        "textMode",
        "wideLayout",
        "reduceOptions",
    },
    "bargauge": {"displayMode", "orientation", "showUnfilled", "valueMode", "reduceOptions"},
    "table": {"showHeader", "cellHeight"},
    "heatmap": {
        "calculate",
        "cellGap",
        "color",
        "yAxis",
        "rowsFrame",
        "tooltip",
        "legend",
        "exemplars",
        "filterValues",
        "showValue",
    },
}
"""Of the options in @grafana/schema, raw/composable, of each panel."""


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


@pytest.mark.parametrize("panel", panels())
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """A current kind of panel with its own options; a unit, a description, a word for no data; a source to choose."""
    assert panel["type"] in PANELS
    assert set(panel["options"]) <= OPTIONS[panel["type"]]
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
