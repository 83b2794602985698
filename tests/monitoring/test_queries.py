"""Every query of a dashboard and every part of an alert, asked of a real Prometheus that watches a real cloud."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3
import yaml
from botocore.exceptions import ClientError
from tests.monitoring.conftest import DASHBOARDS, RULES, SECONDS, chosen, is_wrong, program, until_it_is

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitoring.conftest import Prometheus, Watched

pytestmark = [pytest.mark.monitoring, pytest.mark.xdist_group("prometheus")]

NOT_YET = {"Full in", "On the move", "In vain"}
"""Have data only where a volume fills (who can say of this machine's?), a layout changes, or a node is away."""


def queries() -> list[Any]:
    """Each query of each panel: dashboard, panel, expression."""
    return [
        pytest.param(panel["title"], target["expr"], id=f"{path.stem}-{panel['title']}-{target['refId']}")
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


@pytest.mark.parametrize(("title", "expr"), queries())
def test_a_panel_has_data(prometheus: Prometheus, title: str, expr: str) -> None:
    """What the panel asks is understood, and answered with at least one number."""
    series = prometheus.query(chosen(expr))
    if title in NOT_YET:
        return
    assert series, expr
    assert any(one["value"][1] != "NaN" for one in series), series  # an operation that rests has no quantile


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_variable_has_values(prometheus: Prometheus, path: Any) -> None:
    """Each choice at the top of a dashboard has something to choose from, `photos` among the clouds."""
    for variable in json.loads(path.read_text())["templating"]["list"]:
        if variable["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((?P<series>.+), (?P<label>\w+)\)", variable["query"]["query"])
        assert asked
        values = prometheus.ask(f"label/{asked['label']}/values", **{"match[]": chosen(asked["series"])})
        assert values, variable["name"]
        if variable["name"] == "cloud":
            assert "photos" in values


def rules() -> list[Any]:
    """Every alert."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [pytest.param(rule["expr"], id=rule["alert"]) for group in groups for rule in group["rules"]]


def selectors(node: Any) -> Iterator[str]:
    """The series that a parsed expression reads."""
    if isinstance(node, list):
        for part in node:
            yield from selectors(part)
    elif isinstance(node, dict):
        if node.get("type") in ("vectorSelector", "matrixSelector"):
            matchers = [m for m in node["matchers"] if m["name"] != "__name__"]
            yield (
                node["name"]
                + "{"
                + ", ".join(f"{m['name']}{m['type']}{json.dumps(m['value'])}" for m in matchers)
                + "}"
            )
        for part in node.values():
            yield from selectors(part)


@pytest.mark.parametrize("expr", rules())
def test_an_alert_reads_series_that_exist(prometheus: Prometheus, expr: str) -> None:
    """An alert on a series that nobody exposes would never fire: each of its selectors finds one."""
    found = list(selectors(prometheus.ask("parse_query", query=expr)))
    assert found
    for selector in found:
        if selector.startswith("moln_peer_unanswered_total"):
            continue  # there once a peer gives no answer: tests/cluster/test_node_metrics.py
        assert prometheus.query(selector), selector


def test_names_follow_prometheus_rules(prometheus: Prometheus) -> None:
    """Of every target: promtool's linter has nothing to say to names, units and texts."""
    for target in prometheus.ask("targets")["activeTargets"]:
        text = urllib3.request("GET", target["scrapeUrl"], timeout=SECONDS).data
        command = [program("promtool"), "check", "metrics"]
        done = subprocess.run(command, input=text, capture_output=True, timeout=SECONDS, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    """No rule fails, and of a cloud with a node down the alerts are on their way that should be, and no other."""
    found = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    due = {"MolnNodeOffline", "MolnCloudNotReady", "MolnMapNotAcknowledged", "MolnDrainStuck"}
    due |= {"MolnCertificateExpires", "MolnPeerCertificateExpires"}
    this_machines = {"MolnVolumeAlmostFull", "MolnVolumeFullSoon", "MolnServerErrors", "MolnSlowDisk", "MolnBusyNode"}
    deadline = time.monotonic() + SECONDS
    while not due <= (pending := _pending(prometheus)) <= due | this_machines:  # a busy node may be late for a moment
        assert time.monotonic() < deadline, pending
        time.sleep(0.5)


def _pending(prometheus: Prometheus) -> set[str]:
    """The alerts that would fire if it lasted."""
    found = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    return {rule["name"] for rule in found if rule["alerts"]}


def put(watched: Watched, key: str, body: bytes = b"x" * 2000) -> bool:
    """Write an object; whether that was acknowledged."""
    s3 = watched.dev.s3()
    try:
        s3.put_object(Bucket="bucket", Key=key, Body=body)
    except ClientError:
        return False
    finally:
        s3.close()
    return True


def test_the_use_of_a_key_that_ends_is_told(watched: Watched) -> None:
    """One request with it, an hour before its end."""
    assert not is_wrong(watched.prometheus, "MolnKeyExpires", "test")
    s3 = boto3.client(
        "s3",
        endpoint_url=f"https://{watched.secure.s3}",
        aws_access_key_id="older",
        aws_secret_access_key="older-secret-key",
        region_name="us-east-1",
        verify=str(watched.data.parent / "tls.crt"),
    )
    s3.list_buckets()
    s3.close()
    until_it_is(watched.prometheus, "MolnKeyExpires", "test", wrong=True)


def test_alerts_follow_what_happens(watched: Watched) -> None:
    """A node freezes: copies are missing. A second one: requests fail. Both thaw: all is repaired.

    The last of the file, because of what it does to the cloud.
    """
    pids = watched.dev.pids
    for alert in ("MolnUnderReplicated", "MolnDamageFound"):
        until_it_is(watched.prometheus, alert, wrong=False)
    try:
        os.kill(pids[2], signal.SIGSTOP)
        assert put(watched, "while one is away")
        until_it_is(watched.prometheus, "MolnUnderReplicated", wrong=True)
        os.kill(pids[1], signal.SIGSTOP)
        assert not put(watched, "while two are away")
        until_it_is(watched.prometheus, "MolnServerErrors", wrong=True)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    until_it_is(watched.prometheus, "MolnUnderReplicated", wrong=False)
    assert put(watched, "when all are back")


def test_damage_is_told(watched: Watched) -> None:
    """One byte of one body changes on the disk of the node that is asked for it."""
    body = bytes(range(256)) * 8192
    assert put(watched, "large", body)
    found = [path for path in (watched.data / "nodes" / "photos-0").rglob("*") if path.is_file()]
    path = max(found, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    assert len(content) >= len(body)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    s3 = watched.dev.s3()
    assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == body
    s3.close()
    until_it_is(watched.prometheus, "MolnDamageFound", wrong=True)
