"""Bodies on their way: bytes that went bad on the disk, writers that go away, readers that are overtaken."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError
from tests.node.s3.conftest import serving

from moln_node.s3.settings import Seen, Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024


def flip(directory: Path, place: float) -> None:
    """Turn over one bit of the largest file, at a share of its length."""
    path = max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * place))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def bodies(directory: Path) -> list[Path]:
    """The files that hold bodies; one may go while they are looked at."""
    found = []
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and not path.name.startswith("index") and path.stat().st_size >= MIB:
                found.append(path)
    return found


def download(client: Any, sink: bytearray) -> None:
    """Get the object piece by piece."""
    for piece in client.get_object(Bucket="bucket", Key="k")["Body"].iter_chunks(65536):
        sink += piece


def wait(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; fail after half a minute."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


@pytest.mark.skipif("MOLN_TEST_NODES" in os.environ, reason="with many nodes another copy is read")
@pytest.mark.parametrize("place", [0.01, 0.5, 0.9])
def test_bytes_that_went_bad_are_never_served(tmp_path: Path, serve: Callable[[Path], Any], place: float) -> None:
    """An error where nothing was sent yet, a cut connection later: a client never takes a bad copy for the object."""
    body = os.urandom(6 * MIB)
    with serve(tmp_path) as server:
        client = server.client()
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="k", Body=body)
        flip(tmp_path, place)
        got = bytearray()
        with pytest.raises((ClientError, IncompleteReadError, ResponseStreamingError)) as caught:
            download(client, got)
        if isinstance(caught.value, ClientError):
            assert caught.value.response["Error"]["Code"] == "InternalError"
        assert body.startswith(got)
        assert len(got) < len(body)
        client.close()


def test_a_writer_that_goes_away_leaves_nothing(tmp_path: Path, serve: Callable[[Path], Any]) -> None:
    """Half a body and a closed connection: no object, no bytes that count, no file."""
    with serve(tmp_path) as server:
        client = server.client()
        client.create_bucket(Bucket="bucket")
        url = urlsplit(client.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "k"}))
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-length: {8 * MIB}\r\n\r\n"
        with socket.create_connection((server.host, server.port), timeout=30) as connection:
            connection.sendall(head.encode() + bytes(4 * MIB))
            wait(lambda: bodies(tmp_path), "the body to reach the disk")
        wait(lambda: not bodies(tmp_path), "its file to go")
        usage = server.run(server.objects.bucket_usage("bucket"))
        assert (usage.objects, usage.bytes) == (0, 0)
        assert client.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
        client.close()


def test_a_reader_that_is_overtaken_gets_what_it_opened(s3: Any, bucket: str) -> None:
    """The object is overwritten and deleted while it is read: the bytes are those of the etag in the answer."""
    old = os.urandom(24 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=old)
    reading = s3.get_object(Bucket=bucket, Key="k")["Body"]
    first = reading.read(65536)
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    s3.delete_object(Bucket=bucket, Key="k")
    assert first + reading.read() == old


def test_a_slow_reader_holds_back_the_disk(server: Any, s3: Any, bucket: str) -> None:
    """A client that does not read gets no more than the sockets hold; the rest comes when it reads on."""
    body = os.urandom(32 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    url = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(30)
        connection.connect((server.host, server.port))
        connection.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\n\r\n".encode())
        answer = bytearray(connection.recv(65536))
        s3.head_object(Bucket=bucket, Key="k")  # others are served meanwhile
        head, _, rest = bytes(answer).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        received = bytearray(rest)
        while len(received) < len(body):
            piece = connection.recv(1 << 20)
            assert piece, "the connection closed before the object's end"
            received += piece
    assert bytes(received) == body


@pytest.mark.parametrize("storage_class", ["STANDARD", "DEDUP", "ZSTD"])
def test_what_lies_in_many_files_is_sent_in_order(tmp_path: Path, storage_class: str) -> None:
    """Whole, by ranges over the seams, through files, chunks and frames; and what was sent is counted to the byte."""
    seen: list[Seen] = []
    part = random.Random(1).randbytes(5 * MIB + 7) + bytes(MIB)
    body = part + part[::-1] + part
    with serving(tmp_path, Settings(observe=seen.append)) as server:
        s3 = server.client()
        s3.create_bucket(Bucket="bucket")
        upload = s3.create_multipart_upload(Bucket="bucket", Key="k", StorageClass=storage_class)["UploadId"]
        parts = []
        for number, piece in enumerate((part, part[::-1], part), 1):
            asked = {"Bucket": "bucket", "Key": "k", "UploadId": upload, "PartNumber": number}
            parts.append({"PartNumber": number, "ETag": s3.upload_part(**asked, Body=piece)["ETag"]})
        s3.complete_multipart_upload(Bucket="bucket", Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
        size = len(part)
        for start, end in ((0, 3 * size), (size - 3, size + 400_000), (size - 300_000, 2 * size + 300_000), (5, MIB)):
            answer = s3.get_object(Bucket="bucket", Key="k", Range=f"bytes={start}-{end - 1}")
            assert answer["Body"].read() == body[start:end]
            wait(lambda: seen[-1].operation == "GetObject", "the count")
            assert seen.pop().sent == end - start
        s3.close()


def test_readers_that_go_away_are_no_error_of_ours(
    server: Any, s3: Any, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that hangs up in the middle, at once or while it is waited for: nothing is logged, others are served."""
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(32 * MIB))
    url = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    for pause in (0, 0.3):
        for how in (socket.SHUT_RD, socket.SHUT_RDWR, None):
            with socket.create_connection((server.host, server.port), timeout=30) as connection:
                connection.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\n\r\n".encode())
                connection.recv(65536)
                time.sleep(pause)
                if how is not None:
                    connection.shutdown(how)
    assert len(s3.get_object(Bucket=bucket, Key="k")["Body"].read()) == 32 * MIB
    assert not caplog.records


def test_a_put_that_is_too_large_is_refused_before_its_bytes(server: Any, s3: Any, bucket: str) -> None:
    """More than 5 GiB in one put: the answer comes while the client still waits to send."""
    url = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"}))
    size = 5 * 1024 * MIB + 1
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-length: {size}\r\n"
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(f"{head}expect: 100-continue\r\n\r\n".encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>EntityTooLarge</Code>" in answer
