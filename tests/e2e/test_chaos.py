"""Everything at once: the operator and the nodes die at random while a user edits at random and clients work.

At the end the cloud is that of a calm run with the same last edit, and every acknowledged object is there.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cluster import a_cloud, eventually, renamed
from tests.e2e.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.cluster import Namespace, Operator

pytestmark = pytest.mark.lab

SECONDS = float(os.environ.get("MOLN_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("MOLN_CHAOS_SEED", "7"))
LAST: dict[str, Any] = {
    "limits": {"uploadExpiryDays": 5},
    "service": {"port": 9000},
    "storageClasses": [{"name": "STANDARD", "default": True}, {"name": "COLD", "compression": {"algorithm": "zstd"}}],
    "assignmentRules": [{"match": {"suffix": ".log"}, "storageClass": "COLD"}],
}


class Chaos:
    """What goes wrong, and what the user does meanwhile. Each step is chosen by the seed."""

    def __init__(self, namespace: Namespace, seed: int) -> None:
        self._namespace = namespace
        self._chance = random.Random(seed)
        self.operator: Operator = namespace.operator()
        self.done: list[str] = []

    def step(self) -> None:
        """One thing that happens."""
        steps: list[Callable[[], None]] = [
            self._edit,
            self._edit,
            self._kill_operator,
            self._kill_pod,
            self._lose_child,
        ]
        chosen = self._chance.choice(steps)
        self.done.append(chosen.__name__)
        chosen()

    def _edit(self) -> None:
        edit = self._chance.choice(
            [
                {"limits": {"uploadExpiryDays": self._chance.randrange(1, 30)}},
                {"service": {"port": self._chance.choice((80, 8080, 9000))}},
                {"assignmentRules": []},
                {"assignmentRules": LAST["assignmentRules"], "storageClasses": LAST["storageClasses"]},
                {"keyGraceSeconds": self._chance.randrange(1, 60)},
            ]
        )
        self._namespace.patch("cloud", "rough", {"spec": edit})

    def _kill_operator(self) -> None:
        self.operator.kill()
        time.sleep(self._chance.uniform(0, 2))
        self.operator = self._namespace.operator()

    def _kill_pod(self) -> None:
        pods = [pod["metadata"]["name"] for pod in self._namespace.list("pods", "moln.dev/cloud=rough")]
        if pods:
            self._namespace.kubectl("delete", "pod", self._chance.choice(pods), "--grace-period=0", "--force")

    def _lose_child(self) -> None:
        child = self._chance.choice(
            ("service/rough", "configmap/rough-map", "networkpolicy/rough-nodes", "sa/rough-node")
        )
        self._namespace.kubectl("delete", child, "--ignore-not-found", "--wait=false")


def test_chaos_ends_as_a_calm_run_does_and_loses_nothing(namespace: Namespace) -> None:
    """A minute of it; MOLN_CHAOS_SECONDS and MOLN_CHAOS_SEED make it longer or another one."""
    chaos = Chaos(namespace, SEED)
    first = {"spec": {"storageClasses": LAST["storageClasses"]}}
    namespace.apply(a_cloud("rough", **first["spec"]))
    namespace.wait_ready("rough")
    ledger = Ledger(lambda: namespace.s3("rough"), SEED)
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            chaos.step()
            time.sleep(1)
        namespace.patch("cloud", "rough", {"spec": {**LAST, "keyGraceSeconds": 300}})
        generation = namespace.get("cloud", "rough")["metadata"]["generation"]
        eventually(
            lambda: namespace.condition("rough").get("observedGeneration") == generation, "the last edit is seen", 120
        )
        namespace.wait_ready("rough", 180)
    finally:
        ledger.stop()
    objects = ledger.verify()
    print(f"{len(chaos.done)} steps, {objects} objects, {dict(ledger.counts)}")  # noqa: T201 (shown with -s)
    assert objects > 20

    namespace.apply(a_cloud("smooth", **LAST))
    namespace.wait_ready("smooth")
    rough, smooth = namespace.snapshot("rough"), namespace.snapshot("smooth")
    assert renamed(rough, "rough") == renamed(smooth, "smooth")
