"""A dashboard as a picture, from what Prometheus answered: what a reader of the docs sees before installing."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LinearLocator, MaxNLocator
from matplotlib.transforms import Bbox
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

Json = dict[str, Any]
CELL: Final = (0.5, 0.31)
"""Width and height in inches of a unit of Grafana's grid; a line of titles stands above each panel's."""
GAP: Final = 0.16
DOTS: Final = 90  # an inch
LONGEST: Final = 8  # entries of a legend
COLOURS: Final = {"green": "#1a7f4b", "orange": "#c46f00", "red": "#b3261e", None: "#1c2733"}
_SCALES: Final = {
    "bytes": (1024, ("B", "KiB", "MiB", "GiB", "TiB")),
    "Bps": (1000, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s")),
    "short": (1000, ("", "K", "Mil", "Bil", "Tri")),
}
_RATES: Final = {"reqps": " req/s", "cps": " c/s", "wps": " wr/s", "none": ""}


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its name, and its values by the second of the time that is shown."""

    name: str
    points: tuple[tuple[float, float], ...]
    labels: Mapping[str, str]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


def written(value: float, unit: str) -> str:
    """A value as Grafana writes it in this unit."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "more"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for size, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0 s"
    if unit in _SCALES:
        base, names = _SCALES[unit]
        step = min(int(math.log(abs(value), base)), len(names) - 1) if abs(value) >= 1 else 0
        return f"{value / base**step:.3g} {names[step]}".rstrip()
    return f"{value:.4g}{_RATES[unit]}"


def named(legend: str, labels: Mapping[str, str]) -> str:
    """A series' name, by Grafana's `{{label}}`; a panel with one series needs none."""
    return "" if legend == "__auto" else re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend)


def draw(board: Json, answer: Callable[[Json], list[Series]], seconds: float, path: Path) -> None:
    """Write the dashboard as a PNG of so many seconds; `answer` has what Prometheus said to a panel's target."""
    panels = board["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    size = (24 * CELL[0], height * CELL[1])
    figure = Figure(figsize=size, facecolor="#f5f7f9")
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] * CELL[0], place["y"] * CELL[1]
        if panel["type"] == "row":
            figure.text((left + GAP) / size[0], 1 - (top + 0.24) / size[1], panel["title"], fontsize=11, weight="bold")
            continue
        box = (
            (left + GAP / 2) / size[0],
            1 - (top + place["h"] * CELL[1] - GAP / 2) / size[1],
            (place["w"] * CELL[0] - GAP) / size[0],
            (place["h"] * CELL[1] - GAP) / size[1],
        )
        back = figure.add_axes(box, facecolor="white", xticks=[], yticks=[])
        back.spines[:].set_color("#d9e0e6")
        back.annotate(panel["title"], (0, 1), (6, -11), "axes fraction", "offset points", fontsize=8, weight="bold")
        unit = panel["fieldConfig"]["defaults"]["unit"]
        series = [one for target in panel["targets"] for one in answer(target) if one.points]
        if not series:
            nothing = panel["fieldConfig"]["defaults"]["noValue"]
            back.text(0.5, 0.42, nothing, ha="center", va="center", fontsize=8, color="#5d6b78")
            continue
        _KINDS[panel["type"]](back, panel, series, unit)
        if panel["type"] in ("timeseries", "heatmap"):
            for axes in back.child_axes:
                axes.set_xlim(0, seconds)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DOTS)
    with Image.open(drawn) as image:  # a palette makes a third of it
        image.convert("RGB").quantize(128).save(path, optimize=True)


def _stat(back: Axes, panel: Json, series: list[Series], unit: str) -> None:
    """The newest values, each in the colour of its threshold."""
    defaults = panel["fieldConfig"]["defaults"]
    words = {
        value: option["text"]
        for mapping in defaults.get("mappings", ())
        for value, option in mapping["options"].items()
    }
    for number, one in enumerate(series):
        colour = "green"
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is None or one.last >= step["value"]:
                colour = step["color"]
        text = words.get(f"{one.last:g}", written(one.last, unit))
        place = ((number + 0.5) / len(series), 0.4)
        back.text(*place, text, ha="center", va="center", fontsize=13, weight="bold", color=COLOURS[colour])
        if len(series) > 1:
            back.text(place[0], 0.12, one.name, ha="center", fontsize=6, color="#5d6b78")


def _lines(back: Axes, panel: Json, series: list[Series], unit: str) -> None:
    """Lines over time, or areas on top of each other."""
    axes = back.inset_axes((0.11, 0.3, 0.87, 0.56))
    defaults = panel["fieldConfig"]["defaults"]
    shown = sorted(series, key=lambda one: -_largest(one))
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    if stacked:
        moments = sorted({moment for one in shown for moment, _ in one.points})
        rows = [[_number(dict(one.points).get(moment, 0.0)) for moment in moments] for one in shown]
        axes.stackplot(moments, rows, labels=[one.name for one in shown], alpha=0.75)
    else:
        for one in shown:
            times, values = zip(*one.points, strict=True)
            mark = "." if len(times) < 4 else ""  # a line of one point is none
            axes.plot(times, values, lw=1, marker=mark, label=one.name, clip_on=False)
    _over_time(axes, unit)
    highest = sum(map(_largest, shown)) if stacked else max(map(_largest, shown))
    axes.set_ylim(0, defaults.get("max", 1.1 * highest or 1))
    if any(one.name for one in shown):
        handles, names = axes.get_legend_handles_labels()
        where: Json = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.0), "ncols": min(4, len(names))}
        back.legend(handles[:LONGEST], names[:LONGEST], fontsize=5.5, frameon=False, handlelength=1, **where)


def _bars(back: Axes, _: Json, series: list[Series], unit: str) -> None:
    """The newest value of each series."""
    axes = back.inset_axes((0.2, 0.1, 0.68, 0.74))
    shown = sorted(series, key=lambda one: one.last)
    places = list(range(len(shown)))
    bars = axes.barh(places, [one.last for one in shown], height=0.7, color="#3d7eb8")
    axes.set_yticks(places, [one.name for one in shown])
    axes.set_ylim(len(shown) - max(len(shown), 4) - 0.5, len(shown) - 0.5)
    axes.bar_label(bars, [written(one.last, unit) for one in shown], fontsize=6, padding=3)
    axes.tick_params(labelsize=6, length=0)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)


def _heat(back: Axes, _: Json, series: list[Series], __: str) -> None:
    """Cumulative buckets over time, as what each of them has more than the one before."""
    axes = back.inset_axes((0.13, 0.14, 0.85, 0.72))
    steps = sorted(series, key=lambda one: float(one.labels["le"]))
    times = sorted({moment for one in steps for moment, _ in one.points})
    rows = [[_number(dict(one.points).get(moment, 0.0)) for moment in times] for one in steps]
    each = [rows[0]] + [[high - low for low, high in zip(*pair, strict=True)] for pair in pairwise(rows)]
    axes.pcolormesh(times, range(len(steps)), each, cmap="Oranges", shading="nearest")
    _over_time(axes, "none")
    axes.set_yticks(range(0, len(steps), 3), [written(float(one.labels["le"]), "s") for one in steps[::3]])


def _table(back: Axes, panel: Json, series: list[Series], _: str) -> None:
    """A row for each series; the columns are those that the panel keeps, by the names that it gives them."""
    kept = next(one for one in panel["transformations"] if one["id"] == "organize")["options"]["renameByName"]
    rows = [[f"{one.last:g}" if name == "Value" else one.labels.get(name, "") for name in kept] for one in series]
    table = back.table(
        sorted(rows), colLabels=list(kept.values()), loc="upper left", bbox=Bbox.from_bounds(0.02, 0.03, 0.96, 0.83)
    )
    table.auto_set_font_size(False)
    table.set_fontsize(6.5)
    for cell in table.get_celld().values():
        cell.set_edgecolor("#d9e0e6")


_KINDS: Final[dict[str, Callable[[Axes, Json, list[Series], str], None]]] = {
    "stat": _stat,
    "timeseries": _lines,
    "bargauge": _bars,
    "heatmap": _heat,
    "table": _table,
}


def _over_time(axes: Axes, unit: str) -> None:
    axes.xaxis.set_major_locator(LinearLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.tick_params(labelsize=5.5, length=2, color="#d9e0e6")
    axes.grid(color="#eef1f4", lw=0.6)
    axes.spines[:].set_color("#d9e0e6")


def _largest(one: Series) -> float:
    return max((value for _, value in one.points if not math.isnan(value)), default=0.0)


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value
