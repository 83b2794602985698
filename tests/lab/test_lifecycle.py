"""The lab's own life: it survives the death of its command and of its machine, and leaves nothing behind.

On a second lab of one node, beside the one that other tests use.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moln_lab import cgroups
from moln_lab.block import loop_devices, mounts
from moln_lab.commands import run
from moln_lab.errors import LabError
from moln_lab.lab import Lab
from moln_lab.progress import wait_for
from moln_lab.topology import Settings

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("second lab")]

NAME = "second"
POD = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 320Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 65532, fsGroup: 65532}
  containers:
    - name: keeper
      image: localhost/moln:dev
      imagePullPolicy: IfNotPresent
      command: [sleep, infinity]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


def _elsewhere(path: Path | str) -> bool:
    """Tell whether a path belongs to a lab other than the second, which may change beside this test."""
    return any(
        part.startswith("moln-") and part != f"moln-{NAME}"
        for part in (part.split(".")[0] for part in Path(path).parts)
    )


def _groups() -> set[str]:
    return {
        str(folder)
        for hierarchy in cgroups.hierarchies()
        for folder in map(Path, (entry[0] for entry in os.walk(hierarchy)))
        if not _elsewhere(folder)
    }


def _processes() -> dict[int, str]:
    """Return all processes but those of other labs, with their cgroup and command line."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = (process / "cgroup").read_text()
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not any(_elsewhere(entry.rpartition(":")[2]) for entry in group.splitlines()):
            found[int(process.name)] = group + line
    return found


def _namespaces() -> set[str]:
    """Return the network namespaces that processes of no other lab are in."""
    found = set()
    for pid in _processes():
        try:
            found.add(str(Path(f"/proc/{pid}/ns/net").readlink()))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def _footprint() -> dict[str, set[str]]:
    """Return what this machine has of each kind of thing that a lab makes, but for what other labs have made."""
    places = [mount.target for mount in mounts()]
    links = [line.split(": ")[1].split("@")[0] for line in run(["ip", "-o", "link"]).splitlines()]
    return {
        "mounts": {str(place) for place in places if not _elsewhere(place)},
        "loop devices": {str(file) for file in loop_devices().values() if not _elsewhere(file)},
        "cgroups": _groups(),
        "network namespaces": _namespaces(),
        "links": {link for link in links if not _elsewhere(link)},
        "routes": {line for line in run(["ip", "route"]).splitlines() if NAME in line},
        "processes": {text for text in _processes().values() if f"moln-{NAME}" in text},
        "container logs": {
            str(link) for link in Path("/var/log/containers").glob("*") if not _elsewhere(link.readlink())
        },
    }


def _assert_as(before: dict[str, set[str]]) -> None:
    """Assert that the machine has nothing that it had not before, but for what other programs make and remove."""
    more: dict[str, set[str]] = {}

    def same() -> bool:
        nonlocal more
        more = {kind: new for kind, found in _footprint().items() if (new := found - before[kind])}
        return not more

    try:
        wait_for(same, "the machine's being as before", 60, poll=0.5)
    except LabError:
        pytest.fail(f"left behind: {more}")


@pytest.fixture
def second(lab: Lab) -> Iterator[Lab]:
    """A lab of one node that is not up; what builds it is there already."""
    del lab
    made = Lab(Settings.of(NAME, 1))
    made.down()
    try:
        yield made
    finally:
        made.down()


def _start_and_write(lab: Lab) -> None:
    lab.images()
    lab.kubectl("apply", "-f", "-", stdin=POD.encode())
    lab.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=120s", timeout=130)
    lab.kubectl("exec", "keeper", "--", "sh", "-c", "echo kept > /data/file && sync /data/file")


def test_down_leaves_nothing(second: Lab) -> None:
    """After `down`, with a pod and a volume still in use, the machine has nothing that it had not before `up`."""
    before = _footprint()
    second.up()
    _start_and_write(second)
    during = _footprint()
    assert all(during[kind] - before[kind] for kind in before)  # or the comparison below would prove nothing
    second.down()
    _assert_as(before)
    assert not second.settings.state.exists()


def test_up_heals_what_a_dead_machine_left(second: Lab) -> None:
    """All processes die at once and mounts stay, as when a session ends; `up` brings back the pod and its data."""
    second.up()
    _start_and_write(second)
    cgroups.kill(second.topology.cgroup)
    second.up()

    def kept() -> bool:
        with suppress(LabError):  # the container is not there yet, though the API server still calls the pod Ready
            return second.kubectl("exec", "keeper", "--", "cat", "/data/file").strip() == "kept"
        return False

    wait_for(kept, "the pod's return with its data", 120, poll=0.5)


def test_up_can_be_killed_at_any_moment(second: Lab) -> None:
    """`up` is killed by SIGKILL at moments all along its way; the next `up` ends with a working node each time."""
    before = _footprint()
    command = [sys.executable, "-m", "moln_lab", "--name", NAME, "up", "--nodes", "1"]
    for seconds in (0.6, 1.2, 2.4, 4.8, 7.2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as up:
            time.sleep(seconds)  # not to wait for something, but to choose the moment
            up.send_signal(signal.SIGKILL)
    second.up()
    assert [line.ready for line in second.status()] == [True]
    programs = [text for text in _processes().values() if f"moln-{NAME}" in text]
    assert sum("kubelet --config" in text for text in programs) == 1  # no orphan of a killed `up` beside it
    second.down()
    _assert_as(before)
