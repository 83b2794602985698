"""An operator that dies after every single write: the next one goes on, and the end is that of a calm run."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.certificates import Pair
from tests.e2e.cluster import CLASS, Manifest, a_cloud, eventually, renamed
from tests.e2e.test_tls import secret

from moln_operator.kube.api import Api
from moln_operator.kube.connection import connect
from moln_operator.metrics import Metrics
from moln_operator.observe.nodes import NodeClient
from moln_operator.run import Operator
from moln_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.cluster import Namespace

pytestmark = pytest.mark.lab

MOST_LIVES = 200
QUIET_SECONDS = 8.0


class DiedError(BaseException):
    """The operator's end, which nothing in it may catch."""


class MortalApi(Api):
    """An API that the operator does not outlive: a change is made, and nobody hears of it."""

    async def _patch(self, verb: str, kind: str, namespace: str, name: str, *more: Any, **named: Any) -> Manifest:
        before = await self.get(kind, namespace, name)
        made = await super()._patch(verb, kind, namespace, name, *more, **named)
        if before is not None and before["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]:
            return made
        raise DiedError

    async def create(self, namespace: str, manifest: Manifest) -> Manifest | None:
        """Create, then die, unless it was an event: they are not part of the state."""
        made = await super().create(namespace, manifest)
        if manifest["kind"] == "Event":
            return made
        raise DiedError

    async def delete(self, kind: str, namespace: str, name: str) -> bool:
        """Delete, then die."""
        await super().delete(kind, namespace, name)
        raise DiedError

    async def set_status(self, kind: str, namespace: str, name: str, status: Manifest) -> Manifest:
        """Write a status, then die."""
        await super().set_status(kind, namespace, name, status)
        raise DiedError


async def one_life(namespace: Namespace) -> bool:
    """One operator, until it dies of its first write; False if it had nothing to write for a while."""
    settings = Settings(
        image=namespace.image, namespaces=(namespace.name,), operator_class=CLASS, poll_seconds=1.0, workers=1
    )
    metrics = Metrics()
    async with connect(1) as client, NodeClient() as nodes:
        operator = Operator(settings, MortalApi(client, metrics), nodes, metrics)
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await operator.run()
        except TimeoutError:
            return False
        except BaseExceptionGroup as group:
            if group.subgroup(DiedError) is None:
                raise
            return True
        finally:
            operator.queue.close()
    return False


def lives(namespace: Namespace, reached: Callable[[], bool]) -> int:
    """Let operators live and die until one has nothing to do and the end is reached; how many it took."""
    for number in range(MOST_LIVES):
        if not asyncio.run(one_life(namespace)) and reached():
            return number
    raise AssertionError(f"{MOST_LIVES} operators did not come to an end")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_an_operator_that_dies_after_every_write_gets_there_all_the_same(
    namespace: Namespace, tmp_path: Path, tls: bool
) -> None:
    """Creation, an edit and the deletion of a cloud, one write per life; compared with a cloud made calmly."""
    os.environ["KUBECONFIG"] = namespace.kubeconfig
    pair = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    pair.renew()
    namespace.apply(secret(pair))
    more = {"tls": {"secretName": "cert"}} if tls else {}
    namespace.apply(a_cloud("rough", deletionPolicy="Delete", **more))
    assert lives(namespace, lambda: namespace.condition("rough").get("status") == "True") > 10
    edit = {"spec": {"service": {"port": 80}, "limits": {"uploadExpiryDays": 3}}}
    namespace.patch("cloud", "rough", edit)
    assert lives(namespace, lambda: namespace.condition("rough").get("status") == "True") > 2
    rough = namespace.snapshot("rough")

    calm = namespace.operator()
    namespace.apply(a_cloud("smooth", deletionPolicy="Delete", **more))
    namespace.wait_ready("smooth")
    namespace.patch("cloud", "smooth", edit)
    eventually(lambda: namespace.get("service", "smooth")["spec"]["ports"][0]["port"] == 80, "the edit is applied")
    namespace.wait_ready("smooth")
    calm.stop()
    assert renamed(rough, "rough") == renamed(namespace.snapshot("smooth"), "smooth")

    namespace.kubectl("delete", "cloud", "--all", "--wait=false")
    assert lives(namespace, lambda: not namespace.list("clouds")) > 2
    assert namespace.list("pvc,secrets,configmaps,statefulsets", "app.kubernetes.io/managed-by=moln") == []
