"""A class and a rule are edited on a running Cloud, and its user asks for it to hold for what is kept already."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cluster import a_cloud, eventually
from tests.e2e.story import clients_at_work, moln

if TYPE_CHECKING:
    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab

NODES = 3
OBJECTS = 60
SIZE = 1024 * 1024
CHOSEN = 5
"""Every fifth object has the class that its client asked for."""


def a_log(number: int) -> bytes:
    """Bytes that compress, as those of logs do."""
    lines = (
        f"2026-01-01T00:00:00 node-{number} request {line} took {line * number % 977} ms\n" for line in range(20_000)
    )
    return "".join(lines).encode()[:SIZE]


def test_what_is_kept_follows_an_edit_where_it_is_asked_for(namespace: Namespace) -> None:
    """Less on the disks, all that S3 shows as it was but the class, and clients that feel nothing of it."""
    namespace.operator()
    classes: list[dict[str, Any]] = [{"name": "STANDARD", "default": True}, {"name": "ARCHIVE"}]
    namespace.apply(a_cloud("photos", nodes={"replicas": NODES}, storageClasses=classes))
    namespace.wait_ready("photos", 150)
    s3 = namespace.s3("photos")
    s3.create_bucket(Bucket="logs")
    for number in range(OBJECTS):
        chosen = {"StorageClass": "STANDARD"} if number % CHOSEN == 0 else {}
        s3.put_object(Bucket="logs", Key=f"k{number:02}", Body=a_log(number), **chosen)
    before = {number: shown(s3, number) for number in range(OBJECTS)}
    with clients_at_work(namespace, seed=21) as ledger:
        epoch = namespace.map("photos")["epoch"]
        classes[1]["compression"] = {"algorithm": "zstd", "level": 9}
        rule = {"name": "logs", "match": {"buckets": ["logs"]}, "storageClass": "ARCHIVE"}
        namespace.patch("cloud", "photos", {"spec": {"storageClasses": classes, "assignmentRules": [rule]}})
        eventually(lambda: namespace.epoch("photos") > epoch, "every node has the edit", 60)
        told = moln(namespace, "rewrite", "--bucket", "logs", "--dry-run")
        moved = OBJECTS - OBJECTS // CHOSEN
        assert (told["classes"]["differing"], told["copies"]["differing"]) == (moved, NODES * moved)
        assert told["findings"][0].endswith("STANDARD -> ARCHIVE (logs matches)")
        calm = dict(ledger.counts)
        began = time.monotonic()
        done = moln(namespace, "rewrite")
        seconds = time.monotonic() - began
        assert done["classes"]["reassigned"] == moved
        assert done["copies"]["rewritten"] == told["copies"]["differing"]
        assert done["copies"]["after"] < done["copies"]["before"] / 4
        assert ledger.counts["put"] > calm["put"], "clients went on"
    failed = {kind: count for kind, count in ledger.counts.items() if "failed" in kind}
    print(f"{seconds:.1f} s: {done['copies']}, told {told['copies']}, failed {failed}")  # noqa: T201 (shown with -s)
    assert not failed
    for number, (head, body) in before.items():
        name = "STANDARD" if number % CHOSEN == 0 else "ARCHIVE"
        seen, data = shown(s3, number)
        assert (seen.pop("StorageClass", "STANDARD"), data) == (name, body)
        assert seen == {kind: value for kind, value in head.items() if kind != "StorageClass"}
    again = moln(namespace, "rewrite")
    assert (again["classes"]["reassigned"], again["copies"]["rewritten"]) == (0, 0)


def shown(s3: Any, number: int) -> tuple[dict[str, Any], bytes]:
    """What S3 says of an object, and its bytes."""
    answer = s3.get_object(Bucket="logs", Key=f"k{number:02}")
    body = answer.pop("Body").read()
    answer.pop("ResponseMetadata")
    return answer, body
