"""The frame: targets from raw bytes, operations, errors as XML, limits, and requests that nobody should send."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Signer
from defusedxml import ElementTree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moln_node.s3 import routing, xml
from moln_node.s3.app import make_runner
from moln_node.s3.auth.keyring import Keyring
from moln_node.s3.errors import S3Error
from moln_node.s3.settings import Settings
from moln_node.s3.target import parse_target
from moln_spec.credentials import Credentials

if TYPE_CHECKING:
    from .conftest import Server

KEYS = ["a b", "..", "a/../b", "a//b", "/", "//", "%2F", "a+b", "\n", "\r\n", "\x00\x01", "ä", "\U0001f600", "?x=1#y",
        "&<>\"'", "~(x)*!", " ", "a/", ".", "k" * 1024]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_odd_keys(s3: Any, bucket: str, key: str) -> None:
    """Every key arrives as it was sent, reads back, and is listed as itself."""
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize(
    ("raw", "host", "bucket", "key"),
    [
        ("/", "h", "", ""),
        ("/b", "h", "b", ""),
        ("/b/", "h", "b", ""),
        ("/b//k", "h", "b", "/k"),
        ("/b/a%2Fb", "h", "b", "a/b"),
        ("/b/a+b", "h", "b", "a+b"),
        ("http://h/b/k", "h", "b", "k"),
        ("/k", "b.s3.example", "b", "k"),
        ("/", "b.s3.example:9000", "b", ""),
        ("/b/k", "s3.example", "b", "k"),
        ("/k", "a.b.s3.example", "a.b", "k"),
        ("/b/k", "bs3.example", "b", "k"),
        ("/k", "b.S3.Example", "b", "k"),
    ],
)
def test_targets(raw: str, host: str, bucket: str, key: str) -> None:
    """Path style and virtual hosts name buckets and keys, and nothing is normalised."""
    target = parse_target(raw, host, ("s3.example",))
    assert (target.bucket, target.key) == (bucket, key)


def test_query_keeps_its_order_and_empty_values() -> None:
    """Names without values, values with plus and percent, and names that come twice are read as sent."""
    target = parse_target("/b?acl&prefix=a+b%2Bc&prefix=z&&x=", "h")
    assert target.pairs == (("acl", ""), ("prefix", "a b+c"), ("prefix", "z"), ("x", ""))
    assert target.query == {"acl": "", "prefix": "a b+c", "x": ""}


@given(st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_any_target(text: str) -> None:
    """Any request target is a bucket and a key, or InvalidURI."""
    try:
        target = parse_target("/" + text, "b.s3.example", ("s3.example",))
    except S3Error as error:
        assert error.code == "InvalidURI"  # noqa: PT017 either outcome is right
    else:
        assert target.bucket == "b"


@given(st.binary(max_size=200))
def test_any_bytes_as_xml(data: bytes) -> None:
    """Any document is parsed or refused as not being one."""
    try:
        xml.parse(data)
    except ValueError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>" * 3,
        b"\xff\xfe<a/>",
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
    ],
)
def test_xml_that_is_not_taken(data: bytes) -> None:
    """No entities, no DTD, no unknown encodings."""
    with pytest.raises(ValueError, match="not well-formed"):
        xml.parse(data)


@given(st.text(max_size=50))
def test_xml_text_survives(text: str) -> None:
    """What is written between tags reads back as itself, where XML 1.0 has a character for it."""
    legal = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "", text)
    document = xml.document("a", xml.leaf("b", legal))
    assert (ElementTree.fromstring(document).findtext(f"{{{xml.NAMESPACE}}}b") or "") == legal


def test_times() -> None:
    """Times are as S3's XML and HTTP's headers have them."""
    assert xml.iso_time(1_769_860_800_005) == "2026-01-31T12:00:00.005Z"
    assert xml.http_time(1_769_860_800_005) == "Sat, 31 Jan 2026 12:00:00 GMT"


def test_errors_are_s3s(raw: http.client.HTTPConnection, bucket: str) -> None:
    """An error has its code, resource and request id in XML and headers; HEAD has no body."""
    raw.request("GET", f"/{bucket}/a%20key?X-Secret=1")
    answer = raw.getresponse()
    body = ElementTree.fromstring(answer.read())
    assert (answer.status, body.findtext("Code")) == (403, "AccessDenied")
    assert body.findtext("Resource") == f"/{bucket}/a%20key"
    assert body.findtext("RequestId") == answer.headers["x-amz-request-id"]
    assert body.findtext("HostId") == answer.headers["x-amz-id-2"]
    raw.request("HEAD", f"/{bucket}/k")
    answer = raw.getresponse()
    assert (answer.status, answer.read()) == (403, b"")


def test_every_operation_is_built_or_says_so() -> None:
    """The table has an action for every operation, and reads are named as reads, because roles go by that."""
    for table in (routing.SERVICE, routing.BUCKET, routing.OBJECT):
        for (method, _), operation in table.items():
            reads = operation.action.startswith(("s3:Get", "s3:List"))
            assert reads == (method in {"GET", "HEAD"}) or not operation.action, operation


def exchange(server: Server, request: bytes, *, shut: bool = False) -> bytes:
    """Send bytes, and read until the server closes or is silent for a moment after an answer."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(request)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "?website"),
        ("PUT", "?replication"),
        ("PUT", "?novelty"),
        ("GET", "/key?torrent"),
        ("POST", "/key?select"),
        ("DELETE", "/key?annotation"),
    ],
)
def test_what_is_not_built_is_told_to_the_owner_alone(
    server: Server, raw: http.client.HTTPConnection, bucket: str, method: str, target: str
) -> None:
    """A stranger, a forger and another owner are refused as anywhere; only then it is 501."""
    secrets = {"MAINKEY": "main-secret-key", "ALTKEY": "alt-secret-key"}

    def code(access_key: str, secret: str) -> tuple[int, str | None]:
        headers = {"host": f"{server.host}:{server.port}"}
        if access_key:
            request = AWSRequest(method, f"{server.url}/{bucket}{target}", headers=headers)
            S3SigV4Auth(Signer(access_key, secret), "s3", "us-east-1").add_auth(request)
            headers = dict(request.headers.items())
        raw.request(method, f"/{bucket}{target}", b"", headers)
        answer = raw.getresponse()
        return answer.status, ElementTree.fromstring(answer.read()).findtext("Code")

    assert code("", "") == (403, "AccessDenied")
    assert code("MAINKEY", "forged-secret-key") == (403, "SignatureDoesNotMatch")
    assert code("ALTKEY", secrets["ALTKEY"]) == (403, "AccessDenied")
    assert code("MAINKEY", secrets["MAINKEY"]) == (501, "NotImplemented")


def test_expect_is_answered_only_when_the_body_is_wanted(server: Server, bucket: str) -> None:
    """A client that waits before it sends its body is refused at once, and the connection ends."""
    head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    answer = exchange(server, head.encode())
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"connection: close" in answer.lower()


def test_expect_is_met_where_everybody_may_write(server: Server, s3: Any, bucket: str) -> None:
    """A client that waits is told to go on once it is known to be allowed, and its body is stored."""
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


async def start_front(server: Server, front_settings: Settings) -> web.BaseRunner:
    """Another front over the objects of the server, in its loop, with settings of its own and no keys."""
    runner = make_runner(server.objects, Keyring(Credentials()), front_settings)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


def test_a_client_that_takes_nothing_is_given_up(server: Server, s3: Any, bucket: str) -> None:
    """A download whose client stops reading ends with its connection, and holds nothing open for ever."""
    size = 32 * 1024 * 1024
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(size), ACL="public-read")
    runner = server.run(start_front(server, Settings(send_idle=0.2)))
    try:
        with socket.create_connection(runner.addresses[0][:2], timeout=20) as connection:
            connection.sendall(f"GET /{bucket}/k HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
            deadline = time.monotonic() + 20
            while runner.server.connections and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not runner.server.connections
            taken = 0
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    taken += len(piece)
            assert taken < size
    finally:
        server.run(runner.cleanup())


def test_too_many_requests_at_a_time(server: Server, s3: Any, bucket: str) -> None:
    """Beyond the bound a request is told to come again, and is welcome when the one before is done."""
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    runner = server.run(start_front(server, Settings(max_requests=1)))
    try:
        host, port = runner.addresses[0][:2]

        def ask() -> http.client.HTTPResponse:
            connection = http.client.HTTPConnection(host, port, timeout=20)
            connection.request("GET", f"/{bucket}")
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer

        head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection((host, port), timeout=20) as upload:
            upload.sendall(head.encode())
            assert upload.recv(100).startswith(b"HTTP/1.1 100")  # from now on it is under way
            refused = ask()
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            upload.sendall(b"hello")
            assert upload.recv(65536).startswith(b"HTTP/1.1 200")
        assert ask().status == 200
    finally:
        server.run(runner.cleanup())


def test_forwarded_and_virtual_hosts(server: Server, s3: Any, bucket: str) -> None:
    """Behind a proxy that is trusted, host and address are the client's; to others the proxy's headers mean nothing."""
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.9"}, "Bool": {"aws:SecureTransport": "true"}},
    }
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    headers = {
        "Host": "internal",
        "X-Forwarded-Host": f"{bucket}.s3.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "198.51.100.1, 203.0.113.9",
    }
    for trusted, expected in ((True, 200), (False, 404)):
        runner = server.run(start_front(server, Settings(domains=("s3.example",), trust_forwarded=trusted)))
        try:
            host, port = runner.addresses[0][:2]
            connection = http.client.HTTPConnection(host, port, timeout=20)
            connection.request("GET", "/k", headers=headers)
            assert connection.getresponse().status == expected
            connection.close()
        finally:
            server.run(runner.cleanup())


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /%FF HTTP/1.1",
        "GET /b/%C3%28 HTTP/1.1",
        "GET /b?prefix=%FF HTTP/1.1",
        "GET /b?acl&policy HTTP/1.1",
        "BREW /b HTTP/1.1",
        "DELETE / HTTP/1.1",
        "POST /b/k HTTP/1.1",
        "PUT /b/k?acl&tagging HTTP/1.1",
    ],
)
def test_odd_requests(server: Server, request_line: str) -> None:
    """Requests that name nothing S3 has are answered with 4xx."""
    answer = exchange(server, f"{request_line}\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.[01] 4\d\d ", answer)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"No colon\r\n",
        b"x-amz-meta-a: " + b"x" * 20_000 + b"\r\n",
        b"x-amz-meta-\x00: x\r\n",
    ],
)
def test_malformed_headers(server: Server, headers: bytes) -> None:
    """Headers that are no HTTP are refused before anything is done."""
    assert re.match(rb"HTTP/1.[01] 4\d\d ", exchange(server, b"PUT /b/k HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\n"))


_NAMES = st.sampled_from(
    ["Authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-acl", "Range",
     "x-amz-copy-source", "x-amz-tagging", "Content-MD5", "If-Match", "Expect", "Origin", "x-amz-trailer",
     "Content-Type", "x-amz-security-token", "x-amz-checksum-crc32", "x-amz-expected-bucket-owner"]
)  # fmt: skip
_VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    st.sampled_from(
        [
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request",
            "-1",
            "AWS MAINKEY:bm9uc2Vuc2U=",
            "AWS a:b:c",
            "AWS :",
        ]
    ),
)
_QUERIES = st.sampled_from(
    ["", "?acl", "?policy", "?cors", "?tagging", "?uploads", "?uploadId=1", "?versionId=x", "?delete", "?location",
     "?X-Amz-Signature=1", "?list-type=2&max-keys=-1", "?versions&key-marker=%00", "?partNumber=0", "?attributes"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS"]),
    st.sampled_from(["/", "/fuzzed-bucket", "/fuzzed-bucket/k", "/nope/k"]),
    _QUERIES,
    st.dictionaries(_NAMES, _VALUES, max_size=6),
    st.binary(max_size=100),
)
def test_any_request(server: Server, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> None:
    """Whatever a stranger sends, the answer comes, and is not an error of ours."""
    lines = [f"{method} {path}{query} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    answer = exchange(server, "\r\n".join(lines).encode() + b"\r\n\r\n" + body, shut=False)
    assert re.match(rb"HTTP/1.[01] (?:[1234]\d\d|501) ", answer)  # 501 is said on purpose
    assert not re.match(rb"HTTP/1.1 1\d\d [^\r]*\r\n\r\nHTTP/1.1 5", answer)
