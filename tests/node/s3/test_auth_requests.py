"""Every form of payload over the wire: what is signed arrives, what was tampered with is refused and leaves nothing."""

from __future__ import annotations

import base64
import hashlib
import http.client
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from moln_node.s3.auth import sigv4
from moln_node.s3.auth.keyring import derive

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

KEY, SECRET, REGION = "MAINKEY", "main-secret-key", "eu-anywhere-1"
DATA = bytes(range(256)) * 800  # 204,800 bytes: three chunks of 64 KiB and a rest
CHUNK = 65536
CRC = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()


class Signer:
    """A client that signs by hand: one request, and the chunks that follow from its signature."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._scope = sigv4.Scope(KEY, self._date[:8], REGION, "s3")
        self._key = derive(SECRET, self._date[:8], REGION, "s3")
        self._previous = ""

    def headers(self, path: str, payload: str, **more: str) -> dict[str, str]:
        """The headers of a PUT, signed."""
        headers = {"host": f"{self._server.host}:{self._server.port}", "x-amz-date": self._date,
                   "x-amz-content-sha256": payload}  # fmt: skip
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        names = sorted(headers)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        request = f"PUT\n{path}\n\n{lines}\n{';'.join(names)}\n{payload}"
        self._previous = sigv4.sign(self._key, sigv4.string_to_sign(self._date, self._scope, request))
        return headers | {
            "authorization": f"{sigv4.ALGORITHM} Credential={KEY}/{self._scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={self._previous}"
        }

    def _next(self, kind: str, text: str) -> str:
        self._previous = sigv4.sign(
            self._key, f"AWS4-HMAC-SHA256-{kind}\n{self._date}\n{self._scope}\n{self._previous}\n{text}"
        )
        return self._previous

    def chunks(self, data: bytes, *, signed: bool, trailer: str = "") -> bytes:
        """The body in aws-chunked framing, with this trailer."""
        pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)] + [b""]
        framed = b""
        for piece in pieces:
            digest = f"{sigv4.EMPTY_SHA256}\n{hashlib.sha256(piece).hexdigest()}"
            extension = f";chunk-signature={self._next('PAYLOAD', digest)}" if signed else ""
            framed += f"{len(piece):x}{extension}\r\n".encode() + piece + (b"\r\n" if piece else b"")
        if trailer:
            framed += f"{trailer}\r\n".encode()
            if signed:
                digest = hashlib.sha256(f"{trailer}\n".encode()).hexdigest()
                framed += f"x-amz-trailer-signature:{self._next('TRAILER', digest)}\r\n".encode()
        return framed + b"\r\n"


def put(server: Server, path: str, headers: dict[str, str], body: Any) -> tuple[int, bytes]:
    """Send a PUT; status and body of the answer."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    try:
        connection.request("PUT", path, body, headers, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def whole(signer: Signer, path: str) -> tuple[dict[str, str], bytes]:
    """The body signed as one."""
    return signer.headers(path, hashlib.sha256(DATA).hexdigest()), DATA


def unsigned(signer: Signer, path: str) -> tuple[dict[str, str], bytes]:
    """A body that the signature leaves out, with a checksum that it covers."""
    return signer.headers(path, "UNSIGNED-PAYLOAD", x_amz_checksum_crc32=CRC), DATA


def streamed(signer: Signer, path: str) -> tuple[dict[str, str], bytes]:
    """Signed chunks."""
    form = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    headers = signer.headers(path, form, x_amz_decoded_content_length=str(len(DATA)), content_encoding="aws-chunked")
    return headers, signer.chunks(DATA, signed=True)


def streamed_with_trailer(signer: Signer, path: str) -> tuple[dict[str, str], bytes]:
    """Signed chunks and a signed trailer."""
    form, trailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "x-amz-checksum-crc32"
    headers = signer.headers(path, form, x_amz_decoded_content_length=str(len(DATA)), x_amz_trailer=trailer)
    return headers, signer.chunks(DATA, signed=True, trailer=f"{trailer}:{CRC}")


def unsigned_with_trailer(signer: Signer, path: str) -> tuple[dict[str, str], bytes]:
    """Unsigned chunks and a trailer with their checksum: what current SDKs send over TLS."""
    form, trailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-checksum-crc32"
    headers = signer.headers(path, form, x_amz_decoded_content_length=str(len(DATA)), x_amz_trailer=trailer)
    return headers, signer.chunks(DATA, signed=False, trailer=f"{trailer}:{CRC}")


FORMS = [whole, unsigned, streamed, streamed_with_trailer, unsigned_with_trailer]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunked", [False, True])
def test_payload_forms(
    server: Server, s3: Any, bucket: str, form: Callable[[Signer, str], tuple[dict[str, str], bytes]], chunked: bool
) -> None:
    """Each form is stored bit for bit, also in HTTP's own chunks where S3 needs no Content-Length."""
    path = f"/{bucket}/k"
    headers, body = form(Signer(server), path)
    pieces = (body[start : start + 10_007] for start in range(0, len(body), 10_007))
    status, answer = put(server, path, headers, pieces if chunked else body)
    if chunked and "x-amz-decoded-content-length" not in headers:
        assert (status, b"MissingContentLength" in answer) == (411, True)
        return
    assert status == 200, answer
    stored = s3.get_object(Bucket=bucket, Key="k")
    assert stored["Body"].read() == DATA
    assert "ContentEncoding" not in stored


@pytest.mark.parametrize("form", FORMS)
def test_tampered_payloads(
    server: Server,
    s3: Any,
    bucket: str,
    form: Callable[[Signer, str], tuple[dict[str, str], bytes]],
) -> None:
    """One changed byte in the last chunk is found, and the object that was there before is still there."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    path = f"/{bucket}/k"
    headers, body = form(Signer(server), path)
    place = body.rindex(bytes(range(200, 250)))
    status, answer = put(server, path, headers, body[:place] + b"!" + body[place + 1 :])
    assert (status // 100, b"<Code>" in answer) == (4, True)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"before"


def test_a_body_that_ends_early_leaves_nothing(server: Server, s3: Any, bucket: str, refused: Any) -> None:
    """A client that goes away in the middle of its body has stored nothing."""
    path = f"/{bucket}/k"
    headers, body = streamed(Signer(server), path)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    connection.putrequest("PUT", path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[: len(body) // 2])
    connection.close()
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")


def test_unknown_payload_forms(server: Server, bucket: str) -> None:
    """A payload form that is not built is refused by name, never taken for something else."""
    path = f"/{bucket}/k"
    for form in ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-NOTHING", "abc", "g" * 64):
        status, answer = put(server, path, Signer(server).headers(path, form), b"x")
        assert (status, b"x-amz-content-sha256 must be" in answer) == (400, True), form


def test_presigned_put_and_get(server: Server, s3: Any, bucket: str) -> None:
    """What boto3 presigns works for the method and key that were signed, and for no other."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    for method, name, key, expected in (
        ("PUT", "put_object", "k", 200),
        ("GET", "get_object", "k", 200),
        ("GET", "put_object", "k", 403),
        ("DELETE", "get_object", "k", 403),
    ):
        url = s3.generate_presigned_url(name, {"Bucket": bucket, "Key": key}, ExpiresIn=60)
        connection.request(method, url.removeprefix(server.url), b"hello" if method == "PUT" else None)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == expected, (method, name)
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    connection.request("GET", url.removeprefix(server.url).replace("/k?", "/other?"))
    assert connection.getresponse().status == 403
    connection.close()
