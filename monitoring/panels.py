"""Grafana's classic dashboard model, as far as the project uses it: panels say what they show, the layout follows.

Every panel has a unit, a description and a word for the case that there is nothing to show: the constructors ask for
them. Panels stand in rows, left to right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 42
"""Of Grafana 12.2 and newer; older releases load what they know of it."""

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and what each of its series is called (Grafana's `{{label}}`)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        kind: Grafana's panel type.
        title: what it shows.
        description: what it means, and what to do about it; shown beside the title.
        unit: Grafana's id of the unit.
        queries: what it asks Prometheus.
        nothing: what it says when there is no data.
        width: of 24 columns.
        height: in Grafana's grid units.
        steps: colours from a value up: (None, "green"), (0.8, "red").
        defaults: more of `fieldConfig.defaults`.
        options: Grafana's options of this panel type.
        instant: only the present is asked for, as a table wants it.
        transformations: what Grafana does with the answers.
    """

    kind: str
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    nothing: str
    width: int
    height: int
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    defaults: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    instant: bool = False
    transformations: tuple[Json, ...] = ()

    def model(self, number: int, x: int, y: int) -> Json:
        """The panel as Grafana reads it, at a place of the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(letter, query) for letter, query in zip("ABCDEFGH", self.queries, strict=False)],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "noValue": self.nothing,
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [{"value": value, "color": colour} for value, colour in self.steps],
                    },
                    **self.defaults,
                },
                "overrides": [],
            },
            "options": self.options,
            **({"transformations": list(self.transformations)} if self.transformations else {}),
        }

    def _target(self, letter: str, query: Query) -> Json:
        return {
            "refId": letter,
            "datasource": _DATASOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "range": not self.instant,
            "instant": self.instant,
            **({"format": "table"} if self.kind == "table" else {}),
            **({"format": "heatmap"} if self.kind == "heatmap" else {}),
        }


@dataclass(frozen=True, slots=True)
class Row:
    """A heading with the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of the dashboard: the values of a label."""

    name: str
    label: str
    query: str
    every: bool = False

    def model(self) -> Json:
        """As Grafana reads it; `every` offers them all, and series without the label too."""
        return {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "datasource": _DATASOURCE,
            "query": {"query": self.query, "refId": f"variable-{self.name}"},
            "definition": self.query,
            "refresh": 2,
            "sort": 1,
            "includeAll": self.every,
            "multi": False,
            "options": [],
            **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if self.every else {"current": {}}),
        }


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of Grafana."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def model(self) -> Json:
        """The dashboard as Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["moln"],
            "schemaVersion": SCHEMA_VERSION,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "timepicker": {},
            "annotations": {"list": []},
            "links": [
                {
                    "type": "dashboards",
                    "title": "moln",
                    "tags": ["moln"],
                    "asDropdown": True,
                    "includeVars": True,
                    "keepTime": True,
                    "targetBlank": False,
                    "icon": "external link",
                    "tooltip": "",
                    "url": "",
                }
            ],
            "templating": {"list": [_DATASOURCE_VARIABLE, *(variable.model() for variable in self.variables)]},
            "panels": _laid_out(self.rows),
        }


_DATASOURCE_VARIABLE: Final[Json] = {
    "type": "datasource",
    "name": "datasource",
    "label": "Data source",
    "query": "prometheus",
    "refresh": 1,
    "includeAll": False,
    "multi": False,
    "options": [],
    "current": {},
}


def _laid_out(rows: tuple[Row, ...]) -> list[Json]:
    found: list[Json] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": _WIDTH, "h": 1}
        found.append(
            {
                "id": len(found) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > _WIDTH:
                x, y, tallest = 0, y + tallest, 0
            found.append(panel.model(len(found) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return found


def stat(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    nothing: str,
    steps: tuple[tuple[float | None, str], ...] = ((None, "green"),),
    words: dict[str, str] | None = None,
    width: int = 3,
) -> Panel:
    """A number that is read at a glance; `words` replace values."""
    mappings = [{"type": "value", "options": {value: {"text": text} for value, text in words.items()}}] if words else []
    return Panel(
        "stat",
        title,
        description,
        unit,
        queries,
        nothing,
        width,
        4,
        steps,
        {"mappings": mappings},
        {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
            "wideLayout": True,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    )


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    nothing: str = "no data: is the cloud scraped?",
    width: int = 8,
    stacked: bool = False,
    **defaults: Any,
) -> Panel:
    """Lines over time."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 25 if stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    return Panel(
        "timeseries",
        title,
        description,
        unit,
        queries,
        nothing,
        width,
        8,
        defaults={"min": 0, "color": {"mode": "palette-classic"}, "custom": custom, **defaults},
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def bars(title: str, description: str, unit: str, query: Query, *, nothing: str, width: int = 8) -> Panel:
    """The present values of several series, each a bar."""
    return Panel(
        "bargauge",
        title,
        description,
        unit,
        (query,),
        nothing,
        width,
        8,
        defaults={"min": 0},
        options={
            "displayMode": "basic",
            "orientation": "horizontal",
            "showUnfilled": True,
            "valueMode": "color",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        instant=True,
    )


def heat(title: str, description: str, query: Query, *, nothing: str, width: int = 8) -> Panel:
    """A histogram over time, of seconds."""
    return Panel(
        "heatmap",
        title,
        description,
        "short",
        (query,),
        nothing,
        width,
        8,
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange"},
            "yAxis": {"unit": "s", "axisPlacement": "left"},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": False},
            "legend": {"show": True},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "showValue": "never",
        },
    )


def table(
    title: str, description: str, *queries: Query, nothing: str, columns: dict[str, str], width: int = 24
) -> Panel:
    """The present values, a row for each thing; `columns` names the fields that are shown, in their order."""
    return Panel(
        "table",
        title,
        description,
        "short",
        queries,
        nothing,
        width,
        8,
        options={"showHeader": True, "cellHeight": "sm"},
        instant=True,
        transformations=(
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {},
                    "indexByName": {name: number for number, name in enumerate(columns)},
                    "renameByName": columns,
                },
            },
        ),
    )
