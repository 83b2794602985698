"""put, get, ls, rm, stat, mb, rb, presign: ordinary work against a real cloud, and how each of them fails."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import urllib3

if TYPE_CHECKING:
    from tests.cli.conftest import Shelf
    from tests.cli.harness import Desk

MIB = 1024 * 1024


def test_a_file_goes_in_and_comes_out(shelf: Shelf) -> None:
    """Bytes, content type, metadata and tags arrive; the file comes back under its own name."""
    (shelf.folder / "photo.jpg").write_bytes(b"jpeg")
    put = shelf.moln(
        *("put", shelf.folder / "photo.jpg", f"{shelf.url}/2026/", "--json"),
        *("--metadata", "camera=old", "--tag", "kind=test", "--cache-control", "no-store"),
    )
    assert put.code == 0
    assert put.documents[0] | {"version_id": None} == {
        "bucket": shelf.bucket,
        "key": "2026/photo.jpg",
        "size": 4,
        "etag": hashlib.md5(b"jpeg").hexdigest(),  # noqa: S324 (what S3's ETag is)
        "version_id": None,
        "resumed_bytes": 0,
    }
    head = shelf.dev.s3().head_object(Bucket=shelf.bucket, Key="2026/photo.jpg")
    assert (head["ContentType"], head["CacheControl"]) == ("image/jpeg", "no-store")
    assert head["Metadata"] == {"camera": "old"}
    tags = shelf.dev.s3().get_object_tagging(Bucket=shelf.bucket, Key="2026/photo.jpg")["TagSet"]
    assert tags == [{"Key": "kind", "Value": "test"}]
    out = shelf.folder / "out"
    out.mkdir()
    got = shelf.moln("get", f"{shelf.url}/2026/photo.jpg", out, "--json")
    assert (out / "photo.jpg").read_bytes() == b"jpeg"
    assert got.documents[0]["verified"]


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB + 7])
def test_every_size_survives_the_way_there_and_back(shelf: Shelf, size: int) -> None:
    """In one piece or in parts, from a file and from standard input, to a file and to standard output."""
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    (shelf.folder / "in").write_bytes(data)
    assert shelf.moln("put", shelf.folder / "in", f"{shelf.url}/file").code == 0
    assert shelf.moln("put", "-", f"{shelf.url}/stream", stdin=data).code == 0
    assert shelf.body("file") == shelf.body("stream") == data
    assert shelf.moln("get", f"{shelf.url}/stream", shelf.folder / "out").code == 0
    assert (shelf.folder / "out").read_bytes() == data
    assert shelf.moln("get", f"{shelf.url}/file", "-").raw == data
    left = shelf.dev.s3().list_multipart_uploads(Bucket=shelf.bucket)
    assert "Uploads" not in left


def test_ranges_and_versions_are_read(shelf: Shelf) -> None:
    """A part of an object, and an older version of it."""
    s3 = shelf.dev.s3()
    s3.put_bucket_versioning(Bucket=shelf.bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=shelf.bucket, Key="k", Body=b"0123456789")["VersionId"]
    s3.put_object(Bucket=shelf.bucket, Key="k", Body=b"newer")
    assert shelf.moln("get", f"{shelf.url}/k", "-").out == "newer"
    assert shelf.moln("get", f"{shelf.url}/k", "-", "--version-id", first).out == "0123456789"
    assert shelf.moln("get", f"{shelf.url}/k", "--range", "2-4", "--version-id", first).out == "234"
    assert shelf.moln("get", f"{shelf.url}/k", "--range=-3", "--version-id", first).out == "789"
    listed = shelf.moln("ls", f"{shelf.url}/k", "--versions", "--json").documents
    assert [(entry["size"], entry["latest"]) for entry in listed] == [(5, True), (10, False)]
    assert shelf.moln("rm", f"{shelf.url}/k", "--version-id", first).code == 0
    assert len(shelf.moln("ls", f"{shelf.url}/k", "--versions", "--json").documents) == 1


def test_conditions_bind_a_put(shelf: Shelf) -> None:
    """--if-absent and --if-match overwrite nothing that they should not: exit code 5."""
    (shelf.folder / "f").write_bytes(b"one")
    target = f"{shelf.url}/k"
    assert shelf.moln("put", shelf.folder / "f", target, "--if-absent").code == 0
    (shelf.folder / "f").write_bytes(b"two")
    refused = shelf.moln("put", shelf.folder / "f", target, "--if-absent", "--json")
    assert (refused.code, json.loads(refused.err)["code"]) == (5, "conflict")
    assert shelf.moln("put", shelf.folder / "f", target, "--if-match", "0" * 32).code == 5
    etag = hashlib.md5(b"one").hexdigest()  # noqa: S324 (what S3's ETag is)
    assert shelf.body("k") == b"one"
    assert shelf.moln("put", shelf.folder / "f", target, "--if-match", etag).code == 0
    assert shelf.body("k") == b"two"


def test_ls_shows_levels_keys_and_buckets(shelf: Shelf) -> None:
    """A level at a time, or everything; more than a page; a prefix that nothing has is not found."""
    s3 = shelf.dev.s3()
    for key in ("a/1", "a/2", "b", "line\nbreak"):
        s3.put_object(Bucket=shelf.bucket, Key=key, Body=b"x")
    level = shelf.moln("ls", shelf.url, "--json").documents
    assert [entry.get("prefix") or entry["key"] for entry in level] == ["a/", "b", "line\nbreak"]
    assert [entry["key"] for entry in shelf.moln("ls", "-r", f"{shelf.url}/a", "--json").documents] == ["a/1", "a/2"]
    assert "line\\nbreak" in shelf.moln("ls", shelf.url).out
    assert shelf.url in [f"s3://{b['bucket']}" for b in shelf.moln("ls", "--json").documents]
    assert shelf.moln("ls", f"{shelf.url}/none").code == 3
    assert shelf.moln("ls", "s3://no-such-bucket").code == 3


def test_rm_deletes_what_was_named_and_asks_before_emptying_a_bucket(shelf: Shelf) -> None:
    """Names, prefixes, dry runs; a whole bucket only after a yes."""
    s3 = shelf.dev.s3()
    for key in ("a/1", "a/2", "ab", "b"):
        s3.put_object(Bucket=shelf.bucket, Key=key, Body=b"x")
    assert shelf.moln("rm", f"{shelf.url}/b", f"{shelf.url}/none").code == 0
    dry = shelf.moln("rm", "-r", "-n", f"{shelf.url}/a", "--json").documents
    assert [(entry["key"], entry["deleted"]) for entry in dry] == [("a/1", False), ("a/2", False), ("ab", False)]
    assert shelf.keys() == ["a/1", "a/2", "ab"]
    assert shelf.moln("rm", "-r", f"{shelf.url}/a/").code == 0
    assert shelf.keys() == ["ab"]
    assert shelf.moln("rm", shelf.url).code == 2
    assert shelf.moln("rm", "-r", shelf.url, stdin=b"n\n").code == 1
    assert shelf.keys() == ["ab"]
    assert shelf.moln("rm", "-r", "-y", shelf.url).code == 0
    assert shelf.moln("rb", shelf.url).code == 0


def test_rm_versions_leaves_nothing(shelf: Shelf) -> None:
    """With --versions delete markers and old versions go too, so that the bucket can be removed."""
    s3 = shelf.dev.s3()
    s3.put_bucket_versioning(Bucket=shelf.bucket, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        s3.put_object(Bucket=shelf.bucket, Key="k", Body=b"x")
    s3.delete_object(Bucket=shelf.bucket, Key="k")
    assert shelf.moln("rm", "-r", "-y", shelf.url).code == 0
    assert shelf.moln("rb", shelf.url).code == 5
    assert shelf.moln("rm", "-r", "-y", "--versions", shelf.url).code == 0
    assert shelf.moln("rb", shelf.url).code == 0


def test_stat_tells_what_an_object_and_a_bucket_are(shelf: Shelf) -> None:
    """Size, checksum and class of an object, settings of a bucket."""
    (shelf.folder / "a.log").write_bytes(b"cold")
    shelf.moln("put", shelf.folder / "a.log", f"{shelf.url}/a.log")
    document = shelf.moln("stat", f"{shelf.url}/a.log", "--json").documents[0]
    assert (document["size"], document["storage_class"], document["checksums"]) == (4, "COLD", {"CRC32": "yMuKBg=="})
    assert "4 (4 B)" in shelf.moln("stat", f"{shelf.url}/a.log").out
    bucket = shelf.moln("stat", shelf.url, "--json").documents[0]
    assert bucket == {"bucket": shelf.bucket, "versioning": "Off", "policy": False, "cors": False, "lifecycle": False}


def test_a_presigned_url_needs_no_keys(shelf: Shelf) -> None:
    """Whoever has it reads, or writes, that one object."""
    write = shelf.moln("presign", "--put", f"{shelf.url}/k").out.strip()
    assert urllib3.request("PUT", write, body=b"by url").status == 200
    read = shelf.moln("presign", "--expires", "15m", f"{shelf.url}/k").out.strip()
    assert urllib3.request("GET", read).data == b"by url"
    assert urllib3.request("GET", write).status == 403
    assert "X-Amz-Expires=900" in read


@pytest.mark.parametrize("text", ["0", "8d", "-1", "1w", "", "1.5h"])
def test_a_time_that_s3_does_not_take_is_refused(shelf: Shelf, text: str) -> None:
    """One second to seven days."""
    result = shelf.moln("presign", f"--expires={text}", f"{shelf.url}/k")
    assert (result.code, "from 1 second to 7 days" in result.err) == (2, True)


def test_explain_tells_the_class_and_why(shelf: Shelf) -> None:
    """A running cloud and its YAML give the same answer."""
    running = shelf.moln("explain", f"{shelf.url}/a.log", "--json").documents[0]
    assert (running["storageClass"], running["reason"]) == ("COLD", "logs are cold matches")
    yaml = shelf.desk.folder / "cloud.yaml"
    assert shelf.moln("explain", f"{shelf.url}/a.log", "--cloud", yaml, "--json").documents[0] == running
    text = shelf.moln("explain", f"{shelf.url}/a.txt").out
    assert "STANDARD: no rule matches: the default class" in text
    assert "- logs are cold: key does not end with '.log'" in text
    assert shelf.moln("explain", f"{shelf.url}/k", "--storage-class", "NONE").code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["stat", "BUCKET/none"], 3, "does not exist"),
        (["get", "BUCKET/none", "/nowhere/at/all"], 3, "does not exist"),
        (["get", "s3://no-such-bucket/k", "-"], 3, "NoSuchBucket"),
        (["put", "/no/such/file", "BUCKET/k"], 3, "/no/such/file"),
        (["mb", "s3://Not_A_Bucket"], 1, "InvalidBucketName"),
        (["ls", "--access-key", "NOBODY"], 4, "InvalidAccessKeyId"),
        (["ls", "--secret-key", "a-wrong-secret"], 4, "SignatureDoesNotMatch"),
        (["ls", "--endpoint", "http://127.0.0.1:9"], 2, "AWS_ACCESS_KEY_ID"),
        (["ls", "--profile", "none"], 2, "does not exist"),
        (["ls", "--profile", "../dev"], 2, "no name for a profile"),
        (["ls", "bucket"], 2, "s3://BUCKET/KEY"),
        (["ls", "--nonsense"], 2, "--nonsense"),
        (["nonsense"], 2, "nonsense"),
        (["put", "x", "BUCKET/k", "--part-size", "1M"], 2, "from 5M to 5G"),
        (["put", "x", "BUCKET/k", "--metadata", "novalue"], 2, "NAME=VALUE"),
        (["cp", "a", "b"], 2, "use cp(1)"),
    ],
)
def test_failures_have_codes_and_sentences(shelf: Shelf, arguments: list[str], code: int, says: str) -> None:
    """Scripts read the code, people the sentence; standard output stays empty."""
    result = shelf.moln(*(argument.replace("BUCKET", shelf.url) for argument in arguments))
    assert (result.code, result.out) == (code, "")
    assert says in result.err


def test_an_endpoint_that_does_not_answer_is_unreachable(shelf: Shelf) -> None:
    """A cloud that is not there is told apart from one that says no."""
    keys = {"AWS_ACCESS_KEY_ID": "ABC", "AWS_SECRET_ACCESS_KEY": "abcdefgh", "MOLN_ENDPOINT": "http://127.0.0.1:9"}
    result = shelf.moln("ls", environment=keys)
    assert result.code == 6
    assert "does not answer" in result.err


def test_the_script_itself_ends_with_these_codes(desk: Desk) -> None:
    """`python -m moln` as a process: help is 0, no endpoint is 2."""
    for arguments, code in ((["--help"], 0), (["ls"], 2)):
        command = [sys.executable, "-m", "moln", *arguments]
        assert subprocess.run(command, env=desk.environment, capture_output=True, check=False).returncode == code
