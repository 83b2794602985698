"""The operator's page: what it says of each Cloud, and that nothing in it is taken for markup."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest
from tests.operator.test_overview import STATUS, an_inventory

from moln_operator import health, page
from moln_operator.metrics import Metrics
from moln_operator.observe.overview import Overview
from moln_operator.settings import Settings

WELL = {
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "AllNodesReady", "message": "3 of 3 nodes serve"},
        {"type": "Degraded", "status": "False", "reason": "AsExpected"},
        {"type": "Progressing", "status": "False", "reason": "Settled", "message": "as the spec asks"},
    ],
    "nodes": {"desired": 3, "current": 3, "ready": 3, "summary": "3/3"},
    "map": {"epoch": 7, "acknowledged": 7},
    "usage": {"capacity": "30.0Gi", "used": "3.00Gi", "usedPercent": 10, "objects": 1234567},
    "endpoint": "http://photos.home.svc:9000",
}


class Words(HTMLParser):
    """The text of a page, without its style, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember a tag."""
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("style", "src")]

    def handle_data(self, data: str) -> None:
        """Remember a word."""
        if self.tags and self.tags[-1] != "style" and data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        """All words."""
        return " ".join(self.words)


def shown(ready: int, status: dict[str, Any]) -> Words:
    """The page of one cloud."""
    return Words(page.render(Overview(an_inventory(ready, status)).clouds(), leads=True))


@pytest.mark.parametrize(
    ("ready", "status", "says"),
    [
        (3, WELL, ("1 Cloud, all is well", "photos home well", "3 of 3", "3.00Gi of 30.0Gi", "1,234,567", "epoch 7")),
        (2, STATUS, ("1 to look at", "to look at NodesNotReady photos-2: no answer", "epoch 7, 6 everywhere")),
        (1, STATUS, ("data at risk", "at least 1 of 3", "photos-1 not ready machine-1")),
        (3, {}, ("1 to look at", "not looked at yet")),
    ],
)
def test_it_says_what_is_so(ready: int, status: dict[str, Any], says: tuple[str, ...]) -> None:
    """Well in few words; what is wrong in the operator's."""
    text = shown(ready, status).text
    for part in says:
        assert part in text, text


def test_what_is_well_is_not_repeated() -> None:
    """Conditions that say nothing new take no room."""
    assert "AllNodesReady" not in shown(3, WELL).text
    assert "Settled" not in shown(3, WELL).text


def test_words_of_others_are_no_markup() -> None:
    """A message may hold what a container said last: it is shown as it is, and runs nothing."""
    evil = '<script>alert(1)</script><img src=x onerror=alert(1)>"'
    bad = {"type": "Ready", "status": "False", "reason": "<b>", "message": evil}
    found = shown(3, {**WELL, "conditions": [bad], "endpoint": evil})
    assert evil in found.text
    assert not {"script", "img", "b"} & set(found.tags)


def test_a_replica_that_stands_by_says_so() -> None:
    """It knows of no Cloud, and must not be read as if there were none."""
    assert "stands by" in Words(page.render((), leads=False)).text
    assert "there is no Cloud yet" in Words(page.render((), leads=True)).text


@pytest.mark.parametrize(("shown", "status"), [(True, 200), (False, 404)])
async def test_it_can_be_switched_off(shown: bool, status: int) -> None:
    """Then the port has health and metrics alone."""
    settings = Settings(image="x", listen_host="127.0.0.1", listen_port=0, page=shown)
    async with (
        health.served(settings, Metrics(), list, list, lambda: page.render((), leads=True)) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        found = {}
        for path in ("/", "/live", "/ready", "/metrics"):
            async with http.get(path) as answer:
                found[path] = answer.status
    assert found == {"/": status, "/live": 200, "/ready": 200, "/metrics": 200}
