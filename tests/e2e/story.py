"""What many stories do: clients at work all the time, replicas scaled, and what the status says of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.cluster import Clients, Manifest, a_cloud, eventually, is_ready
from tests.e2e.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.e2e.cluster import Namespace


@contextmanager
def clients_at_work(
    namespace: Namespace, seed: int, cloud: str = "photos", *, classes: Sequence[str] = ()
) -> Iterator[Ledger]:
    """Clients that write, read, delete and list all the time; in the end everything is as they were told."""
    ledger = Ledger(Clients(namespace, cloud), seed=seed, classes=classes)
    began = time.monotonic()
    try:
        yield ledger
    finally:
        ledger.stop()
    objects = ledger.verify()
    print(f"{time.monotonic() - began:.0f} s, {objects} objects, {dict(ledger.counts)}")  # noqa: T201 (shown with -s)
    assert objects > 20


def goes_on(ledger: Ledger, seconds: float = 60) -> None:
    """Wait until more of everything was done since now: service goes on."""
    before = {kind: ledger.counts[kind] for kind in ("put", "get", "delete", "list")}
    eventually(
        lambda: all(ledger.counts[kind] > count for kind, count in before.items()), f"more than {before}", seconds
    )


def scale(namespace: Namespace, replicas: int, what: str = "cloud/photos") -> None:
    """`kubectl scale`, as users and autoscalers do."""
    namespace.kubectl("scale", what, f"--replicas={replicas}")


def reasons(namespace: Namespace) -> set[str]:
    """The reasons of every event so far."""
    return {str(event.get("reason")) for event in namespace.list("events.events.k8s.io")}


def pods(namespace: Namespace, cloud: str = "photos") -> set[str]:
    """The pods of the cloud."""
    return {pod["metadata"]["name"] for pod in namespace.list("pods", f"moln.dev/cloud={cloud}")}


def end(namespace: Namespace, pod: str) -> None:
    """End a node without a word to it, and wait until there is a pod in its place that is ready.

    For some seconds the Cloud's status says what was before, so it is not what tells that the node is back.
    """
    before = namespace.get("pod", pod)["metadata"]["uid"]
    namespace.kubectl("delete", "pod", pod, "--grace-period=0", "--force")

    def is_back() -> bool:
        found = namespace.get("pod", pod)
        return found["metadata"]["uid"] != before and is_ready(found)

    eventually(is_back, f"{pod} is back", 150)


def says(namespace: Namespace, cloud: str, kind: str, reason: str, seconds: float = 60) -> Manifest:
    """A condition of a Cloud, once it says this reason."""

    def found() -> Manifest:
        condition = namespace.condition(cloud, kind)
        assert condition.get("reason") == reason, condition
        return condition

    return dict(eventually(found, f"{kind} of {cloud} says {reason}", seconds))


def blocked(namespace: Namespace, reason: str) -> Manifest:
    """The condition ScaleDownBlocked, once it says this reason."""
    return says(namespace, "photos", "ScaleDownBlocked", reason)


@contextmanager
def paused(namespace: Namespace, pod: str) -> Iterator[None]:
    """A node that does nothing for a while: its process, found on this machine by its pod, is stopped."""
    uid = namespace.get("pod", pod)["metadata"]["uid"]
    found = [folder for folder in Path("/proc").glob("[0-9]*") if _is_node(folder, uid)]
    assert len(found) == 1, found
    os.kill(int(found[0].name), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(int(found[0].name), signal.SIGCONT)


def _is_node(process: Path, uid: str) -> bool:
    try:
        groups, command = (process / "cgroup").read_text(), (process / "cmdline").read_bytes()
    except OSError:
        return False
    return uid in groups.replace("_", "-") and b"moln_node" in command


def a_pool(name: str, **spec: Any) -> Manifest:
    """A small StorageNode of the cloud."""
    nodes = a_cloud("photos")["spec"]["nodes"]
    return {
        "apiVersion": "moln.dev/v1alpha1",
        "kind": "StorageNode",
        "metadata": {"name": name},
        "spec": {"cloudRef": {"name": "photos"}, **nodes, **spec},
    }


def moln(namespace: Namespace, *arguments: str) -> Any:
    """The user's command, with kubectl's connection; its JSON."""
    command = [sys.executable, "-m", "moln", *arguments, "-n", namespace.name, "--json"]
    environment = {
        "KUBECONFIG": namespace.kubeconfig,
        "HOME": str(namespace.scratch),
        "PATH": str(namespace.lab.programs),
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
