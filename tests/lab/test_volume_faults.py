"""Faults of volumes, without a cluster: how volumes are named, how a disk is filled, how processes are stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moln_lab import swap, volume_faults, volumes
from moln_lab.disk import PowerCutDisk
from moln_lab.errors import LabError
from moln_lab.topology import Settings, Topology

SIZE = 320 << 20
MEBIBYTE = 1 << 20


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    """A lab of two nodes that was never started: folders only."""
    return Topology(Settings(name="lab", nodes=2, state=tmp_path, cache=tmp_path / "cache"))


def make_volume(topology: Topology, node: str, name: str, namespace: str, claim: str) -> None:
    """Lay a volume's files where the driver would."""
    folder = volumes.pool(topology, topology.node(node)).mount / name
    folder.mkdir(parents=True)
    (folder / "disk.img").write_bytes(b"x" * 4096)
    record = {"volume": name, "node": node, "namespace": namespace, "claim": claim}
    (folder / "volume.json").write_text(json.dumps(record))


def test_a_volume_is_found_by_each_of_its_names(topology: Topology) -> None:
    """By its PersistentVolume, by its claim, by its claim in its namespace."""
    make_volume(topology, "node-1", "pvc-1", "photos", "data-0")
    make_volume(topology, "node-2", "pvc-2", "photos", "data-1")
    for name in ("pvc-2", "data-1", "photos/data-1"):
        found = volume_faults.find(topology, name)
        assert (found.name, found.node, found.size, found.used, found.mount) == ("pvc-2", "node-2", 4096, None, None)


def test_a_name_that_two_volumes_have_is_refused(topology: Topology) -> None:
    """The error names both in full, so that the reader can choose."""
    make_volume(topology, "node-1", "pvc-1", "photos", "data")
    make_volume(topology, "node-1", "pvc-2", "music", "data")
    with pytest.raises(LabError, match=r"music/data \(pvc-2\), photos/data \(pvc-1\)"):
        volume_faults.find(topology, "data")
    assert volume_faults.find(topology, "music/data").name == "pvc-2"


def test_a_volume_half_made_is_not_listed(topology: Topology) -> None:
    """What the driver is making or deleting is no volume yet, or no more."""
    make_volume(topology, "node-1", ".new-pvc-1", "photos", "data")
    assert volume_faults.list_volumes(topology) == []
    with pytest.raises(LabError, match="there are: none"):
        volume_faults.find(topology, "data")


def test_a_volume_that_no_pod_uses_cannot_be_filled(topology: Topology) -> None:
    """The error says that it is not mounted, and where it is."""
    make_volume(topology, "node-1", "pvc-1", "photos", "data")
    with pytest.raises(LabError, match="photos/data is not mounted on node-1"):
        volume_faults.fill(volume_faults.find(topology, "data"))


@pytest.mark.crash
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mkfs.xfs") is None, reason="needs root and xfsprogs")
def test_a_fill_leaves_what_it_is_told_to(tmp_path: Path) -> None:
    """Up and down again, to within a mebibyte, and nothing stays behind."""
    with PowerCutDisk(tmp_path, SIZE) as disk:
        volume = volume_faults.Volume("pvc", "node-1", "n", "c", tmp_path / "pool/disk.img", SIZE, None, None)
        empty = free(disk.mount)
        for leave in (100 * MEBIBYTE, 10 * MEBIBYTE, 150 * MEBIBYTE, 0):
            volume_faults.fill(volume, leave)
            assert abs(free(disk.mount) - leave) < MEBIBYTE
        volume_faults.unfill(volume)
        volume_faults.unfill(volume)
        assert abs(free(disk.mount) - empty) < MEBIBYTE
        assert list(disk.mount.iterdir()) == []


def free(path: Path) -> int:
    """Bytes that can still be written."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


@pytest.fixture
def busy() -> Iterator[int]:
    """A process whose threads never rest."""
    program = (
        "import os, threading\n"
        "def work():\n"
        "    while True: os.stat('/')\n"
        "for _ in range(3): threading.Thread(target=work, daemon=True).start()\n"
        "print(flush=True)\n"
        "work()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_stopped_is_said_when_every_thread_stands(busy: int) -> None:
    """After `stop` returns no thread runs; the state is read from the kernel."""
    swap.stop(lambda: {busy})
    states = [
        (task / "stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{busy}/task").iterdir()
    ]
    assert states == ["T"] * 4
    os.kill(busy, signal.SIGCONT)


def test_a_process_that_has_ended_stands(busy: int) -> None:
    """One that is gone, or waits to be reaped, is not waited for."""
    os.kill(busy, signal.SIGKILL)
    swap.stop(lambda: {busy, 2**22})
