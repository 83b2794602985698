"""Pictures of dashboards: numbers as Grafana writes them, and every kind of panel drawn."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from tests.monitoring.conftest import DASHBOARDS
from tests.monitoring.drawing import Series, draw, named, written

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "percentunit", "12.3 %"),
        (0.0025, "s", "2.5 ms"),
        (90, "s", "1.5 min"),
        (0, "s", "0 s"),
        (3 * 1024**2, "bytes", "3 MiB"),
        (0, "bytes", "0 B"),
        (12_500, "Bps", "12.5 kB/s"),
        (1_500, "short", "1.5 K"),
        (3, "none", "3"),
        (0.5, "reqps", "0.5 req/s"),
        (math.nan, "s", "-"),
    ],
)
def test_numbers_are_written_with_their_unit(value: float, unit: str, text: str) -> None:
    """Three digits, and a prefix that a person reads at once."""
    assert written(value, unit) == text


def test_a_series_is_named_by_its_legend() -> None:
    """Grafana's braces; a label that is not there is nothing."""
    assert named("{{pod}} {{none}}-", {"pod": "photos-0"}) == "photos-0 -"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_can_be_drawn(path: Any, tmp_path: Path) -> None:
    """With three series each, and with none: then its word for that is there."""

    def some(target: dict[str, Any]) -> list[Series]:
        return [
            Series(
                named(
                    target.get("legendFormat", ""), {"pod": f"photos-{n}", "operation": f"Get{n}", "bucket": f"b{n}"}
                ),
                tuple((float(t), n + 1 + math.sin(t / 9)) for t in range(0, 100, 5)),
                {"le": ("0.1", "1", "+Inf")[n], "check": f"check {n}", "cloud": "photos", "type": f"Type{n}"},
            )
            for n in range(3)
        ]

    board = json.loads(path.read_text())
    draw(board, some, 100, tmp_path / "full.png")
    draw(board, lambda _: [], 100, tmp_path / "empty.png")
    assert (tmp_path / "full.png").stat().st_size > (tmp_path / "empty.png").stat().st_size > 10_000
