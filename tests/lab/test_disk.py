"""The disk whose power can be cut, on real loop devices and XFS. Needs root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moln_lab import block
from moln_lab.block import Mount, mounts, parse_mountinfo
from moln_lab.disk import Pool, PowerCutDisk
from moln_lab.errors import LabError

SIZE = 320 << 20


def needs_disks(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that mounts: with the tests of crashes, after the programs it needs are installed."""
    there = os.geteuid() == 0 and shutil.which("mkfs.xfs") is not None and Path("/dev/loop-control").exists()
    skip = pytest.mark.skipif(not there, reason="needs root, loop devices and xfsprogs")
    marked: Callable[..., None] = pytest.mark.crash(skip(test))
    return marked


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerCutDisk]:
    """An empty disk of 320 MiB."""
    with PowerCutDisk(tmp_path, SIZE) as made:
        yield made


def write(path: Path, content: bytes) -> None:
    """Write without fsync."""
    path.write_bytes(content)


def write_synced(path: Path, content: bytes) -> None:
    """Write, fsync the file and its directory."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Fsync a directory, so that its names are on the device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@needs_disks
def test_a_cut_keeps_exactly_what_was_synced(disk: PowerCutDisk) -> None:
    """Fsynced files come back whole, an unsynced tail and an unsynced file's bytes do not."""
    write_synced(disk.mount / "whole", b"w" * 100_000)
    with (disk.mount / "half").open("wb") as file:
        file.write(b"h" * 65_536)
        file.flush()
        os.fsync(file.fileno())
        file.write(b"x" * 65_536)
        file.flush()
        sync_directory(disk.mount)
        write(disk.mount / "unsynced", b"u" * 100_000)
        cut = disk.cut()
    disk.restore(cut)
    assert (disk.mount / "whole").read_bytes() == b"w" * 100_000
    assert (disk.mount / "half").read_bytes() == b"h" * 65_536
    unsynced = disk.mount / "unsynced"
    assert not unsynced.exists() or unsynced.read_bytes() == b""


@needs_disks
def test_what_is_synced_after_the_cut_is_lost(disk: PowerCutDisk) -> None:
    """The moment is that of the cut, not that of the restore."""
    write_synced(disk.mount / "before", b"1")
    cut = disk.cut()
    write_synced(disk.mount / "after", b"2")
    disk.restore(cut)
    assert [path.name for path in disk.mount.iterdir()] == ["before"]


@needs_disks
def test_each_of_many_cuts_can_be_restored_in_any_order(disk: PowerCutDisk) -> None:
    """Cuts are apart: writing on a restored disk changes no cut."""
    cuts = []
    for count in range(3):
        write_synced(disk.mount / str(count), b"")
        cuts.append(disk.cut())
    for count in (2, 0, 1, 0):
        disk.restore(cuts[count])
        assert sorted(path.name for path in disk.mount.iterdir()) == [str(n) for n in range(count + 1)]
        write_synced(disk.mount / "later", b"")


@needs_disks
def test_the_cut_can_be_taken_while_a_process_writes(disk: PowerCutDisk) -> None:
    """Every line that a writer had synced and told of before the cut is there after it."""
    program = (
        "import os, sys\n"
        "file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "os.fsync(os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY))\n"
        "count = 0\n"
        "while True:\n"
        "    os.write(file, b'%08d\\n' % count)\n"
        "    os.fdatasync(file)\n"
        "    print(count, flush=True)\n"
        "    count += 1\n"
    )
    log = disk.mount / "log"
    with subprocess.Popen([sys.executable, "-c", program, log], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline()) for _ in range(50)]
            cut = disk.cut()
        finally:
            writer.kill()
    disk.restore(cut)
    kept = log.read_text().splitlines()
    assert len(kept) >= len(told)
    assert kept == [f"{n:08d}" for n in range(len(kept))]


@needs_disks
def test_the_size_is_real(disk: PowerCutDisk) -> None:
    """A full disk says so with ENOSPC."""
    with (disk.mount / "big").open("wb") as file, pytest.raises(OSError, match="No space left"):
        os.posix_fallocate(file.fileno(), 0, SIZE)


@needs_disks
def test_restoring_names_the_process_in_the_way(disk: PowerCutDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that was not killed is named, with its pid."""
    monkeypatch.setattr(block, "_RELEASE_TIMEOUT", 0.1)
    cut = disk.cut()
    with (disk.mount / "open").open("wb"), pytest.raises(LabError, match=rf"\({os.getpid()}\)"):
        disk.restore(cut)


@needs_disks
def test_nothing_is_left_behind_also_after_a_kill(tmp_path: Path) -> None:
    """A disk whose owner was killed is released by the next one at the same place, and by leaving it."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from moln_lab.disk import PowerCutDisk\n"
        "with PowerCutDisk(pathlib.Path(sys.argv[1]), int(sys.argv[2])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, str(SIZE)], check=False)
    assert [mount.target.name for mount in left_at(tmp_path)] == ["pool", "mount"]
    with PowerCutDisk(tmp_path, SIZE) as disk:
        assert len(left_at(tmp_path)) == 2
        assert list(disk.mount.iterdir()) == []
    assert left_at(tmp_path) == []
    assert not [path for path in block.loop_devices().values() if path.is_relative_to(tmp_path)]


def left_at(directory: Path) -> list[Mount]:
    """What is mounted under `directory`."""
    return [mount for mount in mounts() if mount.target.is_relative_to(directory)]


@needs_disks
def test_a_pool_comes_back_with_its_files(tmp_path: Path) -> None:
    """After the machine was off (no mounts, no loop devices), the pool is mounted again, as it was."""
    pool = Pool(tmp_path)
    try:
        pool.open()
        pool.open()
        write_synced(pool.mount / "kept", b"here")
        block.release_under(tmp_path)
        assert left_at(tmp_path) == []
        pool.open()
        assert (pool.mount / "kept").read_bytes() == b"here"
        assert len(left_at(tmp_path)) == 1
    finally:
        block.release_under(tmp_path)


@needs_disks
def test_a_disk_too_small_for_xfs_is_refused(tmp_path: Path) -> None:
    """The error says what to ask for, and nothing stays mounted."""
    with pytest.raises(LabError, match="ask for 314572800"), PowerCutDisk(tmp_path, 100 << 20):
        pass
    assert left_at(tmp_path) == []


def test_mountinfo_is_read_with_its_escapes() -> None:
    """Optional fields are skipped, and octal escapes undone."""
    text = (
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
        "42 27 7:0 / /a\\040b\\134c rw - xfs /dev/loop0 rw,discard\n"
    )
    assert parse_mountinfo(text) == [
        Mount("98:0", "/mnt1", Path("/mnt2"), "rw,noatime", "ext3", "/dev/root"),
        Mount("7:0", "/", Path("/a b\\c"), "rw", "xfs", "/dev/loop0"),
    ]


def test_only_its_own_mounts_are_released_and_the_newest_first() -> None:
    """By target or by backing file; a neighbour whose path only starts alike is left alone."""
    pool = Mount("7:0", "/", Path("/state/pool"), "rw", "xfs", "/dev/loop0")
    volume = Mount("7:1", "/", Path("/elsewhere/volume"), "rw", "xfs", "/dev/loop1")
    other = Mount("7:2", "/", Path("/state-of-another/pool"), "rw", "xfs", "/dev/loop2")
    loops = {
        "7:0": Path("/state/pool.img"),
        "7:1": Path("/state/pool/v.img"),
        "7:2": Path("/state-of-another/pool.img"),
    }
    assert block.mounts_to_release(Path("/state"), [pool, volume, other], loops) == [volume, pool]
