"""Writes the dashboards into the chart, as Grafana imports them; with --check it only says whether they are so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from board_cloud import CLOUD
from board_node import NODE
from board_operator import OPERATOR

if TYPE_CHECKING:
    from panels import Dashboard

FOLDER: Final = Path(__file__).parents[1] / "charts" / "moln" / "dashboards"
BOARDS: Final = (CLOUD, NODE, OPERATOR)


def text(board: Dashboard) -> str:
    """The file's content."""
    return json.dumps(board.model(), indent=1) + "\n"


def main() -> int:
    """Write them, or compare."""
    wanted = {FOLDER / f"{board.uid}.json": text(board) for board in BOARDS}
    if "--check" not in sys.argv:
        FOLDER.mkdir(exist_ok=True)
        for path, content in wanted.items():
            path.write_text(content)
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text() != content]
    stale += sorted(set(FOLDER.glob("*.json")) - set(wanted))
    for path in stale:
        sys.stderr.write(f"{path} is not what monitoring/ says: run python monitoring/build.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
