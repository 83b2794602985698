"""A real Prometheus watches a cloud and its operator on the lab: every panel has data, and is drawn."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from tests.e2e.cluster import a_cloud
from tests.e2e.story import clients_at_work, scale
from tests.monitoring.conftest import DASHBOARDS, chosen, scraping
from tests.monitoring.drawing import Series, draw, named

if TYPE_CHECKING:
    from tests.e2e.cluster import Namespace
    from tests.monitoring.conftest import Prometheus

pytestmark = [pytest.mark.lab, pytest.mark.monitoring]

WORK_SECONDS = 30 if "MOLN_PICTURES" in os.environ else 10
"""How long each part of the story lasts: a picture that is to be kept shows more of it."""
WINDOW = "15s"
STEP = 2
MAY_BE_EMPTY = {
    "Full in",  # the machine's disk decides
    "In vain",  # where a call comes to nothing
    "On the move",  # where a scrape meets the moment
    "Left on nodes that go",  # the same
}


def asked(prometheus: Prometheus, target: dict[str, Any], begin: float, end: float) -> list[Series]:
    """What Grafana would show of a target."""
    expr = chosen(target["expr"], WINDOW)
    if target["instant"]:
        found = prometheus.ask("query", query=expr, time=str(end))["result"]
    else:
        found = prometheus.ask("query_range", query=expr, start=str(begin), end=str(end), step=str(STEP))["result"]
    return [
        Series(
            named(target.get("legendFormat", ""), one["metric"]),
            tuple((float(moment) - begin, float(value)) for moment, value in one.get("values") or [one["value"]]),
            one["metric"],
        )
        for one in found
    ]


def test_every_panel_shows_the_labs_cloud(namespace: Namespace, tmp_path: Path) -> None:
    """Clients work, disks are scrubbed, and a node leaves; MOLN_PICTURES names the folder that keeps the pictures."""
    operator = namespace.operator()
    namespace.apply(a_cloud("photos", nodes={"replicas": 4}))
    namespace.wait_settled("photos", "4/4")
    addresses = {
        pod["metadata"]["name"]: pod["status"]["podIP"] for pod in namespace.list("pods", "moln.dev/cloud=photos")
    }
    targets = {pod: (namespace.name, f"{address}:9001") for pod, address in addresses.items()}
    secret = namespace.secret("photos-cluster")["secret"]
    with scraping(tmp_path, targets | {"moln-0": ("moln-system", f"127.0.0.1:{operator.port}")}) as prometheus:
        begin = time.time()
        with clients_at_work(namespace, seed=8):
            time.sleep(WORK_SECONDS)
            for address in addresses.values():
                headers = {"Authorization": f"Bearer {secret}"}
                url = f"http://{address}:9001/v1/tasks"
                urllib3.request("POST", url, json={"kind": "scrub"}, headers=headers, timeout=30)
            time.sleep(WORK_SECONDS)
            scale(namespace, 3)
            namespace.wait_settled("photos", "3/3")
            time.sleep(WORK_SECONDS)
            end = time.time()
        empty = set()
        for path in DASHBOARDS:
            board = json.loads(path.read_text())
            answers = {
                target["expr"]: asked(prometheus, target, begin, end)
                for panel in board["panels"]
                for target in panel.get("targets", ())
            }
            empty |= {
                panel["title"]
                for panel in board["panels"]
                if panel["type"] != "row" and not any(answers[target["expr"]] for target in panel["targets"])
            }
            picture = Path(os.environ.get("MOLN_PICTURES") or tmp_path) / f"{path.stem}.png"
            draw(board, lambda target, answers=answers: answers[target["expr"]], end - begin, picture)  # type: ignore[misc]
            assert picture.stat().st_size > 20_000
    assert empty <= MAY_BE_EMPTY
