"""`moln status`, `top` and `health`: judged case by case, and asked of three nodes that are frozen in turn."""

from __future__ import annotations

import io
import math
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from moln.watching.assess import Level, assess
from moln.watching.page import Counters, Page, parse
from moln.watching.rates import Rates, between
from moln.watching.screen import drawn
from moln.watching.snapshot import Condition, Snapshot
from moln_spec.cloudmap import Change, CloudMap, MapNode
from moln_spec.nodestatus import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cli.harness import Desk, Dev

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("watching")]  # one cloud for most

NAMES = ("n-0", "n-1", "n-2")
FULL = ("--full", "100")
"""The nodes' volume is this machine's disk: how full that is must not matter here."""
GONE = {"error": "it can't be reached"}


def seen(*conditions: Condition, **changed: Mapping[str, object]) -> Snapshot:
    """A healthy cloud of three nodes, some of them changed: n_1={"hints": 3}."""
    nodes = tuple(MapNode(name=name, number=n, address=f"{name}:9001", pool="p") for n, name in enumerate(NAMES))
    cloud_map = CloudMap(cloud="photos", uid="u", epoch=7, nodes=nodes)
    well = {"ready": True, "counts": True, "epoch": 7, "capacity": 100, "used": 10}
    pages = tuple(Page(name, **(well | dict(changed.get(name.replace("-", "_"), {})))) for name in NAMES)  # type: ignore[arg-type]
    return Snapshot("photos", "here", "http://photos", cloud_map, pages, conditions)


@pytest.mark.parametrize(
    ("snapshot", "level", "says"),
    [
        (seen(), Level.HEALTHY, ""),
        (seen(n_1=GONE), Level.DEGRADED, "n-1: it can't be reached"),
        (seen(n_1=GONE, n_2=GONE), Level.AT_RISK, "one of 3 owners serves: the next loss costs data"),
        (seen(n_0=GONE, n_1=GONE, n_2=GONE), Level.AT_RISK, "no owner serves"),
        (seen(n_0={"counts": False}, n_1={"counts": False}), Level.AT_RISK, "512 of 512 partitions can't be read"),
        (seen(n_1={"hints": 3}), Level.DEGRADED, "3 registers wait for repair"),
        (seen(n_1={"dead_letters": 2}), Level.AT_RISK, "2 dead letters"),
        (seen(n_1={"used": 90}), Level.DEGRADED, "n-1: its volume is 90 % full"),
        (seen(n_1={"used": 89}), Level.HEALTHY, ""),
        (seen(n_1={"epoch": 6}), Level.DEGRADED, "n-1: it obeys epoch 6 of the map, not 7"),
        (seen(n_1={"bad": 2}), Level.AT_RISK, "n-1: its last scrub found 2 damaged copies, and no good ones"),
        (
            seen(n_1={"checks": (Check(name="space", state="warn", message="1 % free"),)}),
            Level.DEGRADED,
            "n-1: space: 1 % free",
        ),
        (seen(Condition("Ready", "False", "NodesNotReady", "n-1: why")), Level.DEGRADED, "NodesNotReady: n-1: why"),
        (seen(Condition("Degraded", "True", "AlmostFull", "91 %")), Level.DEGRADED, "AlmostFull: 91 %"),
        (seen(Condition("Degraded", "False", "AsExpected", "")), Level.HEALTHY, ""),
        (seen(Condition("ScaleDownBlocked", "True", "TooFew", "3 copies")), Level.DEGRADED, "TooFew: 3 copies"),
        (seen(Condition("Progressing", "False", "Settled", "")), Level.HEALTHY, ""),
    ],
)
def test_a_cloud_is_judged_by_the_worst_that_was_seen(snapshot: Snapshot, level: Level, says: str) -> None:
    """What does not answer is never taken for well, and each reason is a sentence."""
    verdict = assess(snapshot)
    assert verdict.level == level
    assert says in "\n".join(verdict.reasons)
    assert bool(verdict.reasons) == (level != Level.HEALTHY)


def test_the_worst_reason_comes_first() -> None:
    """Whoever reads one line reads the one that matters."""
    first, *_ = assess(seen(n_0={"used": 90}, n_2={"bad": 1})).reasons
    assert first == "n-2: its last scrub found 1 damaged copies, and no good ones"


def test_what_moves_is_shown_with_how_far_it_is() -> None:
    """Over all nodes that pass; without a change of layout there is nothing to say."""
    from rich.console import Console

    def drawn_of(snapshot: Snapshot) -> str:
        console = Console(width=200, file=io.StringIO(), record=True)
        console.print(drawn(snapshot, assess(snapshot)))
        return console.export_text()

    still = seen(n_0={"moving": (30, 40)}, n_1={"moving": (0, 20)})
    assert "layout" not in drawn_of(still)
    change = Change(before=still.map.layout, since=1)
    moving = replace(still, map=still.map.model_copy(update={"change": change}))
    assert "keys move to a new layout (50 % done)" in drawn_of(moving)
    estimated = replace(moving, pages=(replace(moving.pages[0], seconds_left=130.0), *moving.pages[1:]))
    assert "(50 % done, about 3 min left)" in drawn_of(estimated)


def test_rewriting_is_shown_with_how_far_it_is() -> None:
    """By the task's own counters, over the nodes on which it runs; it is no reason to worry."""
    from rich.console import Console

    task = """moln_node_task_running{cloud="c",kind="rewrite"} 1.0
moln_node_task_progress{cloud="c",kind="rewrite",counter="versions"} 10.0
moln_node_task_progress{cloud="c",kind="rewrite",counter="total"} 40.0
moln_node_task_progress{cloud="c",kind="rewrite",counter="seconds_left"} 130.0
"""
    page = parse("n-0", b'{"ok": true, "checks": []}', task, 0.0)
    ended = parse("n-1", b'{"ok": true, "checks": []}', task.replace("} 1.0", "} 0.0"), 0.0)
    assert ended.rewriting is None
    well = seen()
    snapshot = replace(
        well, pages=(replace(well.pages[0], rewriting=page.rewriting, rewriting_seconds_left=130.0), *well.pages[1:])
    )
    assert page.rewriting_seconds_left == 130.0
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(drawn(snapshot, assess(snapshot)))
    assert "objects are rewritten (25 % done, about 3 min left)" in console.export_text()
    assert assess(snapshot).level == Level.HEALTHY


def test_a_scrubs_verdict_is_what_the_node_keeps() -> None:
    """Not what the last task since its start has counted; of a release that keeps none, that."""
    task = """moln_node_task_progress{cloud="c",kind="scrub",counter="unhealed"} 1.0
"""
    kept = """moln_node_scrub_unhealed{cloud="c"} 0.0
"""
    said = b'{"ok": true, "checks": []}'
    assert parse("n-0", said, task, 0.0).bad == 1
    assert parse("n-0", said, task + kept, 0.0).bad == 0
    assert parse("n-0", said, kept.replace(" 0.0", " 2.0"), 0.0).bad == 2


def test_rates_are_what_happened_between_two_looks() -> None:
    """By the seconds between; the bucket in which the 99th of a hundred requests is; nothing after a restart."""
    before = Counters(at=10, requests=100, errors=1, received=0, sent=1000, latency={0.1: 90, 1: 100, math.inf: 100})
    now = Counters(at=12, requests=300, errors=3, received=50, sent=5000, latency={0.1: 289, 1: 299, math.inf: 300})
    assert between(before, now) == Rates(requests=100, errors=1, received=25, sent=2000, slowest=0.1)
    assert between(Counters(0), now) is None
    assert between(now, Counters(at=14, requests=1)) is None
    assert between(now, Counters(at=14, requests=300, sent=5000, errors=3, received=50, latency=now.latency)) == Rates()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Dev]]:
    """A cloud of three nodes."""
    from tests.cli.harness import Desk

    desk = Desk(tmp_path_factory.mktemp("three"))
    dev = desk.start("--nodes", "3", "--data", str(desk.folder / "data"))
    dev.s3().create_bucket(Bucket="bucket")
    dev.s3().put_object(Bucket="bucket", Key="k", Body=b"x" * 1000)
    yield desk, dev
    desk.end()


def test_status_shows_every_node(three: tuple[Desk, Dev]) -> None:
    """For people a table; for programs the same as JSON."""
    desk, dev = three
    shown = desk.moln("status", *FULL)
    assert shown.code == 0
    assert "test: healthy" in shown.out
    assert "3 of 3 nodes serve, at least 3 of 3 copies of everything" in shown.out
    (document,) = desk.moln("status", "--json", *FULL).documents
    assert (document["level"], document["reasons"], document["endpoint"]) == ("healthy", [], dev.endpoint)
    assert [node["name"] for node in document["nodes"]] == ["test-0", "test-1", "test-2"]
    assert all(node["objects"] == 1 and node["object_bytes"] == 1000 for node in document["nodes"])


def test_top_shows_what_happens_each_second(three: tuple[Desk, Dev]) -> None:
    """Each look has the traffic since the one before; `--count` ends it."""
    desk, _ = three
    documents = desk.moln("top", "--json", "--interval", "0.2", "--count", "2").documents
    assert len(documents) == 2
    for document in documents:
        assert {node["requests_per_second"] for node in document["nodes"]} == {0}
    assert "REQ/S" in desk.moln("top", "--interval", "0.1", "--count", "1").out


def test_health_says_it_by_its_exit_code(three: tuple[Desk, Dev]) -> None:
    """0 while all is well, 1 with a node that does not answer, 2 where one copy is left; 0 when they are back."""
    desk, dev = three
    assert desk.moln("health", *FULL).code == 0
    try:
        os.kill(dev.pids[1], signal.SIGSTOP)
        degraded = desk.moln("health", *FULL)
        assert degraded.code == 1
        assert "test: degraded\n  test-1: no answer in time\n" in degraded.out
        os.kill(dev.pids[2], signal.SIGSTOP)
        (document,) = desk.moln("health", "--json", *FULL).documents
        assert document["level"] == "data at risk"
        assert desk.moln("health", *FULL).code == 2
    finally:
        for pid in dev.pids:
            os.kill(pid, signal.SIGCONT)
    assert desk.moln("health", *FULL).code == 0


def test_where_names_the_owners_and_what_they_have(three: tuple[Desk, Dev]) -> None:
    """Each of three nodes owns every key; one that is frozen is said not to answer."""
    desk, dev = three
    (document,) = desk.moln("where", "s3://bucket/k", "--json").documents
    assert {copy["node"] for copy in document["copies"]} == {"test-0", "test-1", "test-2"}
    assert sum(copy["versions"] == ["null"] for copy in document["copies"]) >= 2
    text = desk.moln("where", "s3://bucket/none").out
    assert text.count("owner, has nothing") == 3
    assert desk.moln("where", "s3://nowhere/k").code == 3
    try:
        os.kill(dev.pids[2], signal.SIGSTOP)
        assert "test-2: owner, does not answer" in desk.moln("where", "s3://bucket/k").out
    finally:
        os.kill(dev.pids[2], signal.SIGCONT)


def test_repair_compares_all_copies(three: tuple[Desk, Dev]) -> None:
    """Nothing differs in a cloud that is well: every copy of every key is compared."""
    desk, _dev = three
    (document,) = desk.moln("repair", "--dry-run", "--json").documents
    assert (document["differing"], document["bytes"], document["unanswered"], document["findings"]) == (0, 0, 0, [])
    assert document["registers"] >= 6  # the bucket and the key, on three nodes
    assert "0 keys differ, 0 B to bring; 0 put right" in desk.moln("repair").out


def test_scrub_reads_back_every_copy(three: tuple[Desk, Dev]) -> None:
    """On every node; in a cloud that is well nothing is damaged."""
    desk, _dev = three
    (document,) = desk.moln("scrub", "--json").documents
    assert (document["bad"], document["healed"], document["unhealed"], document["findings"]) == (0, 0, 0, [])
    assert document["records"] >= 6  # the bucket and the key, on three nodes
    assert document["bytes"] >= 3000
    assert "read back" in desk.moln("scrub").out


def test_rebalance_tells_and_does_nothing(three: tuple[Desk, Dev]) -> None:
    """Of a settled cloud nothing; of a thought of node its share; and without --dry-run what to do instead."""
    desk, _ = three
    assert "nothing moves" in desk.moln("rebalance", "--dry-run").out
    told = desk.moln("rebalance", "--dry-run", "--replicas", "4", "--keys", "--json").documents
    *keys, sums = told
    new = next(name for name in sums["gets"] if name.endswith("-3"))
    assert sums["gets"][new]["keys"] == len(keys)
    assert sums["bytes"] == sum(move["bytes"] for key in keys for move in key["moves"])
    assert "nothing moves" in desk.moln("rebalance", "--dry-run").out
    undone, refused = desk.moln("rebalance"), desk.moln("rebalance", "--dry-run", "--replicas", "1")
    assert (undone.code, "edit replicas" in undone.err) == (2, True)
    assert (refused.code, "would refuse" in refused.err) == (5, True)


def test_rewrite_says_what_it_did(three: tuple[Desk, Dev]) -> None:
    """Every node is asked, twice; where nothing was edited there is nothing to do."""
    desk, _dev = three
    (document,) = desk.moln("rewrite", "--dry-run", "--json").documents
    assert document["classes"] == {"differing": 0, "bytes": 0, "reassigned": 0, "unanswered": 0}
    assert (document["copies"]["versions"], document["copies"]["differing"], document["findings"]) == (3, 0, [])
    assert "3 copies looked at; 0 versions got another class; 0 copies rewritten" in desk.moln("rewrite").out
    refused = desk.moln("rewrite", "--bucket", "none")
    assert refused.code != 0
    assert "there is no bucket 'none'" in refused.err


def test_letters_tells_that_there_are_none(three: tuple[Desk, Dev]) -> None:
    """Every node is asked; with none there is nothing to replay or drop."""
    desk, _dev = three
    assert desk.moln("letters", "--json").documents == [
        {"action": "list", "letters": [], "bytes": 0, "owed": 0, "count": 0, "settled": 0}
    ]
    assert "0 dead letters, 0 B; 0 tried again; 0 owed" in desk.moln("letters", "--replay").out
    assert desk.moln("letters", "--drop", "--yes").code == 0


def test_without_a_cloud_it_says_what_to_do(desk: Desk) -> None:
    """Nothing runs here and there is no kubectl; a profile and a Cloud are not the same."""
    nothing = desk.moln("status", environment={"PATH": ""})
    assert nothing.code == 2
    assert "kubectl" in nothing.err
    assert desk.moln("health", environment={"PATH": ""}).code == 6
    both = desk.moln("status", "photos", "--profile", "dev")
    assert both.code == 2
    assert "profile" in both.err
