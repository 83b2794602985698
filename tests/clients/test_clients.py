"""Programs that people use, each doing its ordinary work against one node and five: what comes back is what went in."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.clients.conftest import SECONDS, Bench, program

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.clients


def test_boto3_transfers_with_its_own_manager(bench: Bench) -> None:
    """upload_file and download_file, in parts and in parallel, as most Python programs do it."""
    planted = bench.plant()
    s3 = bench.door.s3()
    for name, data in planted.items():
        s3.upload_file(str(bench.folder / "in" / name), bench.bucket, name, ExtraArgs={"Metadata": {"a": "b"}})
        s3.download_file(bench.bucket, name, str(bench.folder / "out"))
        assert (bench.folder / "out").read_bytes() == data
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bench.bucket, PaginationConfig={"PageSize": 2})
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    assert keys == sorted(planted, key=str.encode)


def test_aws_cli_copies_syncs_lists_and_removes(bench: Bench) -> None:
    """The high-level commands: mb, cp, sync with --delete, ls, presign, rm, rb."""
    planted = bench.plant()
    aws = (program("aws"), "--endpoint-url", bench.door.endpoint)
    bucket = f"s3://{bench.bucket}"
    bench.run(*aws, "s3", "mb", f"{bucket}-other")
    bench.run(*aws, "s3", "rb", f"{bucket}-other")
    bench.run(*aws, "s3", "sync", "in", f"{bucket}/tree")
    bench.run(*aws, "s3", "sync", f"{bucket}/tree", "out")
    assert bench.tree("out") == planted
    (bench.folder / "in" / "small.txt").unlink()
    bench.run(*aws, "s3", "sync", "--delete", "in", f"{bucket}/tree")
    assert "small.txt" not in bench.run(*aws, "s3", "ls", "--recursive", bucket)
    bench.run(*aws, "s3", "cp", f"{bucket}/tree/large.bin", f"{bucket}/copy.bin")
    bench.run(*aws, "s3", "mv", f"{bucket}/copy.bin", "moved.bin")
    assert (bench.folder / "moved.bin").read_bytes() == planted["large.bin"]
    bench.run(*aws, "s3", "rm", "--recursive", bucket)
    assert bench.run(*aws, "s3", "ls", bucket) == ""
    bench.run(*aws, "s3", "ls", "s3://no-such-bucket", fails=True)


def test_aws_cli_speaks_the_api(bench: Bench) -> None:
    """The low-level commands: versioning, tags, conditions."""
    aws = (program("aws"), "--endpoint-url", bench.door.endpoint, "--output", "json", "s3api")
    named = ("--bucket", bench.bucket, "--key", "k")
    (bench.folder / "f").write_text("one")
    bench.run(*aws, "put-bucket-versioning", "--bucket", bench.bucket, "--versioning-configuration", "Status=Enabled")
    first = json.loads(bench.run(*aws, "put-object", *named, "--body", "f", "--tagging", "a=b"))
    (bench.folder / "f").write_text("two")
    second = json.loads(bench.run(*aws, "put-object", *named, "--body", "f"))
    assert first["VersionId"] != second["VersionId"]
    bench.run(*aws, "get-object", *named, "--version-id", first["VersionId"], "out")
    assert (bench.folder / "out").read_text() == "one"
    tags = json.loads(bench.run(*aws, "get-object-tagging", *named, "--version-id", first["VersionId"]))
    assert tags["TagSet"] == [{"Key": "a", "Value": "b"}]
    bench.run(*aws, "get-object", *named, "--if-match", '"nonsense"', "out", fails=True)


def _rclone(bench: Bench) -> tuple[str, ...]:
    door = bench.door
    remote = "moln"
    (bench.folder / "rclone.conf").write_text(
        f"[{remote}]\ntype = s3\nprovider = Other\nendpoint = {door.endpoint}\n"
        f"access_key_id = {door.access_key}\nsecret_access_key = {door.secret_key}\n"
    )
    return program("rclone"), "--config", "rclone.conf", "--s3-chunk-size", "5M", "--s3-upload-cutoff", "5M"


def test_rclone_syncs_checks_and_moves(bench: Bench) -> None:
    """Sync both ways, check with checksums, server-side move, modification times kept as metadata, purge."""
    planted = bench.plant()
    rclone, bucket = _rclone(bench), f"moln:{bench.bucket}"
    bench.run(*rclone, "sync", "in", f"{bucket}/tree")
    bench.run(*rclone, "check", "--download", "in", f"{bucket}/tree")
    bench.run(*rclone, "check", "in", f"{bucket}/tree")
    bench.run(*rclone, "move", f"{bucket}/tree", f"{bucket}/moved")
    bench.run(*rclone, "sync", f"{bucket}/moved", "out")
    assert bench.tree("out") == planted
    times = {name: (bench.folder / name / "small.txt").stat().st_mtime for name in ("in", "out")}
    assert abs(times["in"] - times["out"]) < 0.001
    bench.run(*rclone, "purge", f"{bucket}/moved")
    assert bench.run(*rclone, "lsf", "-R", bucket) == ""


def test_restic_backs_up_checks_and_restores(bench: Bench) -> None:
    """init, two snapshots, check with all data read, restore, forget with prune."""
    planted = bench.plant()
    restic = (program("restic"), "-r", f"s3:{bench.door.endpoint}/{bench.bucket}/repo", "--no-cache")
    password = {"RESTIC_PASSWORD": "for-tests"}
    bench.run(*restic, "init", more=password)
    bench.run(*restic, "backup", "in", more=password)
    (bench.folder / "in" / "more").write_bytes(b"more")
    bench.run(*restic, "backup", "in", more=password)
    bench.run(*restic, "check", "--read-data", more=password)
    bench.run(*restic, "restore", "latest", "--target", "out", more=password)
    assert bench.tree("out/in") == planted | {"more": b"more"}
    bench.run(*restic, "forget", "--keep-last", "1", "--prune", more=password)
    bench.run(*restic, "check", more=password)


def test_the_minio_client_mirrors_finds_and_removes(bench: Bench) -> None:
    """alias, mirror both ways, cat, find, stat, rm: mc reports what happened as JSON."""
    planted = bench.plant()
    mc = (program("mc"), "--json", "--config-dir", str(bench.folder / "mc"))
    door, bucket = bench.door, f"moln/{bench.bucket}"
    bench.run(*mc, "alias", "set", "moln", door.endpoint, door.access_key, door.secret_key)
    bench.run(*mc, "mirror", "in", f"{bucket}/tree")
    assert bench.run(program("mc"), "--config-dir", "mc", "cat", f"{bucket}/tree/small.txt") == "small"
    found = [json.loads(line)["key"] for line in bench.run(*mc, "find", bucket, "--name", "*.bin").splitlines()]
    assert len(found) == 2
    assert json.loads(bench.run(*mc, "stat", f"{bucket}/tree/large.bin"))["size"] == len(planted["large.bin"])
    bench.run(*mc, "mirror", f"{bucket}/tree", "out")
    assert bench.tree("out") == planted
    bench.run(*mc, "rm", "--recursive", "--force", bucket)
    assert bench.run(*mc, "ls", "--recursive", bucket) == ""


@contextmanager
def _mounted(bench: Bench) -> Iterator[Path]:
    """The bucket as a folder, by s3fs in the foreground; unmounted and ended afterwards."""
    mount = bench.folder / "mount"
    mount.mkdir(exist_ok=True)
    options = f"url={bench.door.endpoint},use_path_request_style,endpoint=us-east-1,umask=0022"
    process = subprocess.Popen(
        [program("s3fs"), bench.bucket, str(mount), "-f", "-o", options],
        env=bench.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not mount.is_mount():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"s3fs did not mount: {(process.communicate()[1] or b'').decode()}")
            time.sleep(0.05)
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=False, capture_output=True)
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            process.communicate()


@pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="the machine has no FUSE")
def test_s3fs_is_a_folder(bench: Bench) -> None:
    """Files are written, renamed, appended to, listed and removed through the kernel, and are objects."""
    with _mounted(bench) as mount:
        (mount / "d").mkdir()
        (mount / "d" / "f").write_bytes(b"x" * 100_000)
        (mount / "d" / "f").rename(mount / "d" / "g")
        with (mount / "d" / "g").open("ab") as file:
            file.write(b"more")
        (mount / "gone").write_bytes(b"x")
        (mount / "gone").unlink()
        assert sorted(path.name for path in (mount / "d").iterdir()) == ["g"]
    s3 = bench.door.s3()
    assert s3.get_object(Bucket=bench.bucket, Key="d/g")["Body"].read() == b"x" * 100_000 + b"more"
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket=bench.bucket)["Contents"]}
    assert keys == {"d/", "d/g"}
    with _mounted(bench) as mount:
        assert (mount / "d" / "g").stat().st_size == 100_004
