"""Put, get, head and delete of objects, by boto3 and by raw requests, against a real front over a real store."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from moln_node.s3.request_attributes import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

    Refused = Callable[[int, str], Any]


def exchange(server: Any, request: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def md5(data: bytes) -> Any:
    """The digest that S3 calls an etag."""
    return hashlib.md5(data, usedforsecurity=False)


SIZES = (0, 1, 1000, 64 * 1024, 256 * 1024 + 1, 1024 * 1024, 5 * 1024 * 1024 + 7)
KEYS = (
    "plain",
    "a/b/c",
    "..",
    "../../etc/passwd",
    "a//b",
    "/leading",
    "trailing/",
    "%2F",
    "a%20b",
    "a+b c",
    "new\nline",
    "snö/雪/🌨",
    "quote\"'<&>",
    "question?mark=1&x",
    "#hash",
    " ",
    "\t",
    "\x01control",
    "x" * 1024,
    "å" * 512,
)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_put_is_what_is_got(s3: Any, bucket: str, size: int) -> None:
    """Bodies of sizes around every limit come back byte for byte, with their MD5 as etag."""
    body = os.urandom(size)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=body)["ETag"]
    assert etag == f'"{md5(body).hexdigest()}"'
    answer = s3.get_object(Bucket=bucket, Key="k")
    assert answer["Body"].read() == body
    assert (answer["ContentLength"], answer["ETag"]) == (size, etag)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentLength"], head["ETag"], head["AcceptRanges"]) == (size, etag, "bytes")


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_any_key_is_a_key(s3: Any, bucket: str, key: str) -> None:
    """Keys of any UTF-8 are kept, got, listed and deleted as they are, and never taken for another."""
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_too_long_is_refused(s3: Any, bucket: str, refused: Refused) -> None:
    """1,024 bytes of UTF-8 are the limit, counted in bytes."""
    for key in ("x" * 1025, "å" * 513):
        with refused(400, "KeyTooLongError"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"")


def test_headers_and_metadata_come_back(s3: Any, bucket: str) -> None:
    """Content headers and user metadata are kept as they were given, and replaced as a whole by the next put."""
    expires = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"x",
        ContentType="text/x-thing; charset=utf-8",
        CacheControl="max-age=3, private",
        ContentDisposition='attachment; filename="x.txt"',
        ContentEncoding="gzip",
        ContentLanguage="sv",
        Expires=expires,
        Metadata={"one": "1", "Two-Words": "  spaced  "},
    )
    for answer in (s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")):
        assert answer["ContentType"] == "text/x-thing; charset=utf-8"
        assert answer["CacheControl"] == "max-age=3, private"
        assert answer["ContentDisposition"] == 'attachment; filename="x.txt"'
        assert answer["ContentEncoding"] == "gzip"
        assert answer["ContentLanguage"] == "sv"
        assert answer["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT"
        assert answer["Metadata"] == {"one": "1", "two-words": "spaced"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"y")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["ContentType"]) == ({}, "binary/octet-stream")
    assert "CacheControl" not in head


def test_aws_chunked_is_no_coding_of_the_object(s3: Any, bucket: str) -> None:
    """The framing of an upload is removed from Content-Encoding; what the client named besides stays."""
    for sent, kept in (
        ("aws-chunked", None),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("deflate, gzip", "deflate, gzip"),
        ("deflate,gzip", "deflate,gzip"),
        ("deflate, aws-chunked, gzip", "deflate, gzip"),
    ):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentEncoding=sent)
        assert s3.head_object(Bucket=bucket, Key="k").get("ContentEncoding") == kept


def test_metadata_has_a_limit(s3: Any, bucket: str, refused: Refused) -> None:
    """Two KiB of names and values are taken, a byte more is refused."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"abcd": "x" * 2044})
    with refused(400, "MetadataTooLarge"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata={"abcd": "x" * 2045})


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=-5", 999_995, 1_000_000),
        ("bytes=999999-", 999_999, None),
        ("bytes=10-9999999", 10, None),
        ("bytes=300000-900000", 300_000, 900_001),
    ],
)
def test_ranges_are_exact(s3: Any, bucket: str, header: str, start: int, end: int | None) -> None:
    """A range answers 206 with exactly its bytes, its length and its place."""
    body = os.urandom(1_000_000)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    answer = s3.get_object(Bucket=bucket, Key="k", Range=header)
    wanted = body[start:end]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["ContentLength"] == len(wanted)
    assert answer["ContentRange"] == f"bytes {start}-{start + len(wanted) - 1}/1000000"
    assert answer["Body"].read() == wanted
    assert s3.head_object(Bucket=bucket, Key="k", Range=header)["ContentLength"] == len(wanted)


def test_ranges_outside_are_416(s3: Any, bucket: str, refused: Refused) -> None:
    """Beyond the end, and any range of an empty object."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"12345")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    for key, header in (("k", "bytes=5-9"), ("k", "bytes=-0"), ("empty", "bytes=0-1"), ("empty", "bytes=-1")):
        with refused(416, "InvalidRange"):
            s3.get_object(Bucket=bucket, Key=key, Range=header)


def test_reads_are_conditional(s3: Any, bucket: str, refused: Refused) -> None:
    """If-Match and its kin answer 200, 304 or 412 on GET and HEAD."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    for call, code in ((s3.get_object, "PreconditionFailed"), (s3.head_object, "412")):
        call(Bucket=bucket, Key="k", IfMatch=etag)
        call(Bucket=bucket, Key="k", IfNoneMatch='"other"')
        call(Bucket=bucket, Key="k", IfUnmodifiedSince=modified)
        call(Bucket=bucket, Key="k", IfModifiedSince=modified - timedelta(seconds=1))
        with refused(412, code):
            call(Bucket=bucket, Key="k", IfMatch='"other"')
        with refused(412, code):
            call(Bucket=bucket, Key="k", IfUnmodifiedSince=modified - timedelta(seconds=1))
        with refused(304, "304"):
            call(Bucket=bucket, Key="k", IfNoneMatch=etag)
        with refused(304, "304"):
            call(Bucket=bucket, Key="k", IfModifiedSince=modified)


def test_writes_are_conditional(s3: Any, bucket: str, refused: Refused) -> None:
    """If-None-Match: * creates once; If-Match replaces only what was read, and needs something to be there."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch='"other"')
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    with refused(404, "NoSuchKey"):
        s3.put_object(Bucket=bucket, Key="other", Body=b"2", IfMatch=etag)
    with refused(404, "NoSuchKey"):
        s3.put_object(Bucket=bucket, Key="other", Body=b"2", IfMatch="*")


def test_deletes_are_conditional(s3: Any, bucket: str, refused: Refused) -> None:
    """By etag, size and time; a key that is not there has nothing to protect."""
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"12")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    for wrong in (
        {"IfMatch": '"other"'},
        {"IfMatchSize": 3},
        {"IfMatchLastModifiedTime": modified - timedelta(seconds=1)},
    ):
        with refused(412, "PreconditionFailed"):
            s3.delete_object(Bucket=bucket, Key="k", **wrong)
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag, IfMatchSize=2, IfMatchLastModifiedTime=modified)
    s3.delete_object(Bucket=bucket, Key="k", IfMatch='"other"')
    s3.delete_object(Bucket=bucket, Key="k", IfMatch="*")


@pytest.mark.parametrize("place", ["versionId=null", "partNumber=1"])
def test_a_write_of_an_object_is_of_the_whole_newest(server: Server, bucket: str, place: str, refused: Refused) -> None:
    """A part whose upload was forgotten must never become the object, nor a version be overwritten in place."""
    s3 = server.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")

    def add(params: dict[str, Any], **_: Any) -> None:
        params["url"] += f"{'&' if '?' in params['url'] else '?'}{place}"

    for operation in ("PutObject", "CopyObject"):
        s3.meta.events.register(f"before-call.s3.{operation}", add)
    with refused(400, "InvalidArgument"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"part")
    with refused(400, "InvalidArgument"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"kept"
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    s3.close()


def test_response_headers_can_be_chosen(s3: Any, bucket: str) -> None:
    """response-* parameters of a signed request replace the stored headers."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="text/plain")
    answer = s3.get_object(
        Bucket=bucket,
        Key="k",
        ResponseContentType="foo/bar",
        ResponseCacheControl="no-cache",
        ResponseContentDisposition="bla",
        ResponseContentEncoding="aaa",
        ResponseContentLanguage="esperanto",
    )
    assert (answer["ContentType"], answer["CacheControl"]) == ("foo/bar", "no-cache")
    assert (answer["ContentDisposition"], answer["ContentEncoding"]) == ("bla", "aaa")
    assert answer["ContentLanguage"] == "esperanto"


def test_content_md5_is_held(s3: Any, bucket: str, refused: Refused) -> None:
    """The right one passes, a wrong one leaves nothing behind, one that is no MD5 is named so."""
    right = base64.b64encode(md5(b"x").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=right)
    wrong = base64.b64encode(md5(b"y").digest()).decode()
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="none", Body=b"x", ContentMD5=wrong)
    with refused(400, "InvalidDigest"):
        s3.put_object(Bucket=bucket, Key="none", Body=b"x", ContentMD5="bm8=")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="none")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("size", [0, 10, 700_000])
def test_checksums_are_kept_and_shown(s3: Any, bucket: str, algorithm: str, size: int) -> None:
    """Each algorithm, as boto3 sends it in the trailer, comes back where it is asked for and nowhere else."""
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
    value = put[f"Checksum{algorithm}"]
    assert put["ChecksumType"] == "FULL_OBJECT"
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[f"Checksum{algorithm}"] == value
    assert f"Checksum{algorithm}" not in s3.head_object(Bucket=bucket, Key="k")
    answer = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (answer["Body"].read(), answer[f"Checksum{algorithm}"]) == (body, value)


def test_a_wrong_checksum_leaves_nothing(s3: Any, bucket: str, refused: Refused) -> None:
    """A checksum of other bytes or of no shape is BadDigest, and no object appears."""
    wrong = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumCRC32=wrong)
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumSHA256="bad")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")


def test_objects_without_a_promise_get_the_default_checksum(server: Any, bucket: str) -> None:
    """As on AWS, an upload that names no checksum gets CRC64NVME."""
    client = server.client(request_checksum_calculation="when_required")
    put = client.put_object(Bucket=bucket, Key="k", Body=b"123456789")
    assert put["ChecksumCRC64NVME"] == base64.b64encode(0xAE8B14860A799888.to_bytes(8, "big")).decode()
    client.close()


def test_storage_classes(s3: Any, bucket: str, refused: Refused) -> None:
    """A class of the cloud is kept and shown, the default shows in listings only, an unknown one is refused."""
    s3.put_object(Bucket=bucket, Key="cold", Body=b"x", StorageClass="COLD")
    s3.put_object(Bucket=bucket, Key="default", Body=b"x", StorageClass="STANDARD")
    assert s3.head_object(Bucket=bucket, Key="cold")["StorageClass"] == "COLD"
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="default")
    listed = {entry["Key"]: entry["StorageClass"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {"cold": "COLD", "default": "STANDARD"}
    with refused(400, "InvalidStorageClass"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass="GLACIER")


def test_what_is_not_built_is_refused(s3: Any, bucket: str, refused: Refused) -> None:
    """A put that asks for a redirect is 501, and nothing is written."""
    with refused(501, "NotImplemented"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", WebsiteRedirectLocation="/elsewhere")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_missing_things_are_named(s3: Any, bucket: str, refused: Refused) -> None:
    """No key, no bucket: the code says which; deleting what is not there succeeds."""
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="none")
    with refused(404, "404"):
        s3.head_object(Bucket=bucket, Key="none")
    for call in (s3.get_object, s3.delete_object):
        with refused(404, "NoSuchBucket"):
            call(Bucket="no-such-bucket", Key="k")
    with refused(404, "NoSuchBucket"):
        s3.put_object(Bucket="no-such-bucket", Key="k", Body=b"x")
    assert s3.delete_object(Bucket=bucket, Key="none")["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_non_ascii_metadata_is_kept_and_comes_back_as_rfc_2047(s3: Any, bucket: str) -> None:
    """UTF-8 (or else Latin-1) in a metadata header is kept as text, and answered as S3 does: an encoded word."""
    for raw in ("snö".encode(), "snö".encode("latin-1")):
        text = raw.decode("utf-8", "surrogateescape")
        kept = describe({"x-amz-meta-name": text}).metadata["name"]
        assert kept == "snö"
    word = f"=?UTF-8?B?{base64.b64encode('snö'.encode()).decode()}?="
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"name": word})
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"]["name"] == word


def test_a_put_without_a_length_is_411(server: Any, s3: Any, bucket: str) -> None:
    """S3 takes no body of unknown size outside of aws-chunked."""
    url = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"}))
    headers = f"host: {url.netloc}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
    answer = exchange(server, f"PUT {url.path}?{url.query} HTTP/1.1\r\n{headers}\r\n1\r\nx\r\n0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 411 "), answer
    assert b"<Code>MissingContentLength</Code>" in answer
