"""Each alert fires when what it warns of has lasted, and stops when it is mended: promtool, on a clock of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.monitoring.conftest import ROOT, RULES, program

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.monitoring

NODE = 'namespace="home", cloud="photos", pod="photos-0"'


def cloud(name: str, **labels: str) -> str:
    """A series of the operator about a Cloud."""
    more = "".join(f', {label}="{value}"' for label, value in labels.items())
    return f'moln_operator_cloud_{name}{{cloud_namespace="home", cloud="photos"{more}}}'


def node(name: str, **labels: str) -> str:
    """A series of a node."""
    return f"moln_node_{name}{{{NODE}" + "".join(f', {label}="{value}"' for label, value in labels.items()) + "}"


def half_late(histogram: str, most: float) -> dict[str, str]:
    """Ten observations a minute, all within `most` seconds; from the 20th to the 60th minute half take up to twice."""
    return {
        node(f"{histogram}_bucket", le=str(most)): "0+10x20 200+5x40 400+10x60",
        node(f"{histogram}_bucket", le=str(2 * most)): "0+10x120",
        node(f"{histogram}_bucket", le="+Inf"): "0+10x120",
    }


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to some series, a value a minute; when the alert must not fire yet, fires, and is over."""

    alert: str
    series: dict[str, str]
    early: str
    fires: str
    over: str


STORIES = (
    Story(
        "MolnDataAtRisk",
        {cloud("fewest_serving_copies"): "3x5 1x10 3x5", cloud("copies"): "3x40"},
        early="5m",
        fires="9m",
        over="18m",
    ),
    Story(
        "MolnDataAtRisk",
        {cloud("fewest_serving_copies"): "1x5 0x10 1x5", cloud("copies"): "1x40"},
        early="5m",
        fires="9m",
        over="18m",
    ),
    Story("MolnPartitionsStuck", {cloud("stuck_partitions"): "0x5 3x10 0x10"}, "6m", "10m", "20m"),
    Story("MolnUnderReplicated", {node("hints"): "0x5 7x90 0x10"}, "60m", "70m", "100m"),
    Story("MolnUnderReplicated", {node("counts"): "1x5 0x90 1x10"}, "60m", "70m", "100m"),
    Story("MolnBacklogGrowing", {node("hints"): "0+100x90 9000-200x60"}, "30m", "80m", "140m"),
    Story("MolnDeadLetters", {node("dead_letters"): "0x5 2x10 0x10"}, "4m", "8m", "20m"),
    Story(
        "MolnDamageFound",
        {node("task_progress", kind="scrub", counter="bad"): "0x5 1x5 0x5"},
        "4m",
        "8m",
        "14m",
    ),
    Story("MolnDamageFound", {node("damage_found_total"): "0x5 1x120"}, "5m", "10m", "90m"),
    Story("MolnDamageFound", {node("scrub_unhealed"): "0x5 1x120 0x10"}, "5m", "100m", "130m"),
    Story(
        "MolnLifecycleStalled", {node("lifecycle_ended_timestamp_seconds"): "0x400 24060+60x60"}, "370m", "380m", "410m"
    ),
    Story(
        "MolnNodeOffline",
        {
            cloud("nodes", state="desired"): "3x120",
            cloud("nodes", state="ready"): "3x5 2x80 3x20",
        },
        "60m",
        "70m",
        "90m",
    ),
    Story("MolnCloudNotReady", {cloud("condition", type="Ready"): "1x5 0x20 1x9"}, "15m", "24m", "30m"),
    Story("MolnCloudNotAccepted", {cloud("condition", type="Accepted"): "1x5 0x20 1x9"}, "9m", "14m", "30m"),
    Story(
        "MolnMapNotAcknowledged",
        {
            cloud("map_epoch"): "7x5 8x40",
            cloud("acknowledged_epoch"): "7x25 8x20",
        },
        "15m",
        "24m",
        "30m",
    ),
    Story(
        "MolnDrainStuck",
        {
            cloud("map_nodes", state="leaving"): "0x5 1x400 0x20",
            cloud("leaving_registers", node="photos-3"): "_x5 9000-30x200 3000x200 _x20",
        },
        "300m",
        "340m",
        "415m",
    ),
    Story(
        "MolnDrainStuck",
        {
            cloud("change_under_way"): "0x5 1x500",
            cloud("moving_registers", state="done"): "_x5 0+20x200 4000x200 4000+20x100",
        },
        "300m",
        "340m",
        "420m",
    ),
    Story("MolnDrainStuck", {cloud("change_under_way"): "0x5 1x100 0x20"}, "60m", "80m", "110m"),
    Story("MolnScaleDownBlocked", {cloud("condition", type="ScaleDownBlocked"): "0x5 1x20 0x9"}, "15m", "24m", "30m"),
    Story(
        "MolnPeersApart",
        {f'moln_peer_unanswered_total{{{NODE}, peer="photos-1"}}': "0x5 0+6x60 360x30"},
        "30m",
        "60m",
        "90m",
    ),
    Story(
        "MolnServerErrors",
        {
            f'moln_s3_requests_total{{{NODE}, code="200"}}': "0+90x60",
            f'moln_s3_requests_total{{{NODE}, code="503"}}': "0+1x10 10+10x20 210+0x30",
        },
        "15m",
        "28m",
        "50m",
    ),
    Story("MolnSlowDisk", half_late("fsync_seconds", 0.5), "25m", "58m", "100m"),
    Story("MolnBusyNode", half_late("event_loop_lag_seconds", 0.25), "25m", "58m", "100m"),
    Story(
        "MolnCertificateExpires",
        {node("certificate_expiry_timestamp_seconds"): "9000000x5 1000000x80 9000000x20"},
        "60m",
        "80m",
        "90m",
    ),
    Story(
        "MolnPeerCertificateExpires",
        {node("peer_certificate_expiry_timestamp_seconds"): "9000000x5 1000000x80 9000000x20"},
        "60m",
        "80m",
        "90m",
    ),
    Story(
        "MolnKeyExpires",
        {
            node("leaving_key_requests_total", access_key="old"): "0x30 0+5x40 200x40",
            node("leaving_key_expiry_timestamp_seconds", access_key="old"): "100000x200",
        },
        early="29m",
        fires="40m",
        over="95m",
    ),
    Story(  # in use, but there is time
        "MolnKeyExpires",
        {
            node("leaving_key_requests_total", access_key="old"): "0+5x140",
            node("leaving_key_expiry_timestamp_seconds", access_key="old"): "176400x100 900000x40",
        },
        early="30m",
        fires="70m",
        over="120m",
    ),
    Story(
        "MolnVolumeAlmostFull",
        {node("volume_used_bytes"): "70x5 85x30 70x9", node("volume_capacity_bytes"): "100x60"},
        "15m",
        "30m",
        "40m",
    ),
    Story(
        "MolnVolumeFullSoon",
        {
            node("volume_free_bytes"): "40000x360 40000-10x400 36000+0x900",
            node("volume_reserve_bytes"): "2000x2000",
            node("volume_capacity_bytes"): "100000x2000",
        },
        "360m",
        "700m",
        "1500m",
    ),
    Story(
        "MolnWritesRefused",
        {node("volume_free_bytes"): "3x5 2x5 3x5", node("volume_reserve_bytes"): "2x20"},
        "6m",
        "9m",
        "14m",
    ),
    Story("MolnOperatorDown", {'moln_operator_leader{pod="moln-0"}': "1x5 0x20 1x9"}, "10m", "20m", "30m"),
    Story(
        "MolnCloudNotReconciled",
        {cloud("reconciled_timestamp_seconds"): "0+60x10 600x30 2460+60x10"},
        "20m",
        "35m",
        "45m",
    ),
)


def unit_test(story: Story) -> dict[str, Any]:
    """The story as promtool reads it."""

    def firing(when: str, number: int) -> dict[str, Any]:
        expr = f'count(ALERTS{{alertname="{story.alert}", alertstate="firing"}}) or vector(0)'
        return {"expr": expr, "eval_time": when, "exp_samples": [{"labels": "{}", "value": number}]}

    return {
        "name": story.alert,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in story.series.items()],
        "promql_expr_test": [firing(story.early, 0), firing(story.fires, 1), firing(story.over, 0)],
    }


def promtool(*arguments: str) -> str:
    """Run promtool; its words. It must succeed."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_valid() -> None:
    """Expressions, durations and the templates of the sentences."""
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_each_alert_fires_and_stops(tmp_path: Path) -> None:
    """Not before its time, then yes, and no more once it is mended."""
    path = tmp_path / "stories.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [unit_test(story) for story in STORIES]}))
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_each_alert_has_a_story_and_a_runbook() -> None:
    """No alert is added without saying when it fires, how bad it is, and what to do."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules} == {story.alert for story in STORIES}
    headings = [line.removeprefix("## ") for line in (ROOT / "docs" / "runbooks.md").read_text().splitlines()]
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["alert"] in headings
