"""Browser forms against a real front: signatures, policies, what they let through and what they do not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from defusedxml import ElementTree

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable

    from .conftest import Server

BOUNDARY = "----boundary-of-a-test"
KEY, SECRET = "MAINKEY", "main-secret-key"


def form(fields: dict[str, str], file: bytes | None = b"bar", name: str = "f.txt", tail: str = "\r\n") -> bytes:
    """A form as browsers send it."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    if file is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts.append(head.encode() + b"Content-Type: text/plain\r\n\r\n" + file + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--{tail}".encode()


def post(raw: http.client.HTTPConnection, bucket: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a form; status, headers and body of the answer."""
    raw.request("POST", f"/{bucket}", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = raw.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()


def code(body: bytes) -> str | None:
    """The code of an error."""
    found: str | None = ElementTree.fromstring(body).findtext("Code")
    return found


def conditions(bucket: str, *extra: Any) -> dict[str, Any]:
    """A policy document that fits `signed`'s fields."""
    return {
        "expiration": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [
            {"bucket": bucket},
            ["starts-with", "$key", "foo"],
            {"acl": "private"},
            ["starts-with", "$Content-Type", "text/"],
            ["content-length-range", 0, 4 * 1024 * 1024],
            *extra,
        ],
    }


def signed(document: dict[str, Any], **changes: str) -> dict[str, str]:
    """The fields of a form under this policy, signed with SigV2 as old pages do."""
    policy = base64.b64encode(json.dumps(document).encode())
    signature = base64.b64encode(hmac.digest(SECRET.encode(), policy, hashlib.sha1)).decode()
    return {
        "key": "foo.txt",
        "AWSAccessKeyId": KEY,
        "acl": "private",
        "signature": signature,
        "policy": policy.decode(),
        "Content-Type": "text/plain",
        **changes,
    }


@pytest.fixture
def public(s3: Any, bucket: str) -> str:
    """A bucket that everybody may write to."""
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    return bucket


def test_signed_form(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """A form that keeps its signed policy stores the file, with metadata and content type."""
    document = conditions(bucket, ["eq", "$x-amz-meta-color", "blue"])
    status, headers, _ = post(raw, bucket, form(signed(document, **{"x-amz-meta-color": "blue"})))
    assert status == 204
    assert headers["location"].endswith(f"/{bucket}/foo.txt")
    stored = s3.get_object(Bucket=bucket, Key="foo.txt")
    assert stored["Body"].read() == b"bar"
    assert (stored["Metadata"], stored["ContentType"]) == ({"color": "blue"}, "text/plain")


def test_a_field_that_may_be_anything_may_be_missing(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """A condition that any value begins with is kept by none; one that names a beginning, or a value, is not."""
    assert post(raw, bucket, form(signed(conditions(bucket, ["starts-with", "$x-amz-meta-color", ""]))))[0] == 204
    assert s3.head_object(Bucket=bucket, Key="foo.txt")["Metadata"] == {}
    for condition in (["starts-with", "$x-amz-meta-color", "b"], ["eq", "$x-amz-meta-color", ""]):
        status, _, body = post(raw, bucket, form(signed(conditions(bucket, condition))))
        assert (status, code(body)) == (403, "AccessDenied")


def test_presigned_post_of_boto3(server: Server, bucket: str, raw: http.client.HTTPConnection) -> None:
    """What boto3 presigns (SigV4) is accepted, and refused once a field is changed or the signature is."""
    s3 = server.client()
    made = s3.generate_presigned_post(bucket, "up/${filename}", Conditions=[["content-length-range", 1, 10]])
    assert post(raw, bucket, form(made["fields"], name="a.txt"))[0] == 204
    assert s3.get_object(Bucket=bucket, Key="up/a.txt")["Body"].read() == b"bar"
    status, _, body = post(raw, bucket, form({**made["fields"], "key": "elsewhere"}))
    assert (status, code(body)) == (403, "AccessDenied")
    status, _, body = post(raw, bucket, form({**made["fields"], "x-amz-signature": "0" * 64}))
    assert (status, code(body)) == (403, "SignatureDoesNotMatch")
    status, _, body = post(raw, bucket, form(made["fields"], b"longer than ten"))
    assert (status, code(body)) == (400, "EntityTooLarge")


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        ({"AWSAccessKeyId": "NOBODY"}, 403, "InvalidAccessKeyId"),
        ({"signature": "AAAA"}, 403, "SignatureDoesNotMatch"),
        ({"signature": ""}, 400, "InvalidArgument"),
        ({"key": "bar"}, 403, "AccessDenied"),
        ({"x-amz-meta-more": "1"}, 403, "AccessDenied"),
        ({"x-ignore-me": "1"}, 204, None),
        ({"x-amz-checksum-crc32": "dv+Mqg=="}, 204, None),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, 400, "BadDigest"),
    ],
)
def test_changed_fields(
    bucket: str, raw: http.client.HTTPConnection, change: dict[str, str], status: int, expected: str | None
) -> None:
    """A form whose fields are not those that were signed is refused; x-ignore- fields are nobody's business."""
    found, _, body = post(raw, bucket, form(signed(conditions(bucket), **change)))
    assert (found, code(body) if body else None) == (status, expected)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"expiration": "2001-01-01T00:00:00Z"}, 403),
        ({"expiration": "tomorrow"}, 400),
        ({"expiration": None}, 400),
        ({"conditions": None}, 400),
        ({"conditions": [{}]}, 400),
        ({"conditions": [["content-length-range", 0]]}, 400),
        ({"conditions": [["content-length-range", -1, 0]]}, 400),
        ({"conditions": [["like", "$key", "foo"]]}, 400),
        ({"conditions": []}, 403),
    ],
)
def test_bad_policies(bucket: str, raw: http.client.HTTPConnection, change: dict[str, Any], status: int) -> None:
    """A policy that is malformed is 400, one that is over or does not cover the form is 403."""
    document = {name: value for name, value in (conditions(bucket) | change).items() if value is not None}
    assert post(raw, bucket, form(signed(document)))[0] == status


def test_other_bucket(bucket: str, new_bucket: Callable[[], str], raw: http.client.HTTPConnection) -> None:
    """A policy for one bucket does not open another."""
    assert post(raw, new_bucket(), form(signed(conditions(bucket))))[0] == 403


def test_names_in_any_case(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """Field names and operators are compared without their letter case."""
    document = conditions(bucket)
    document["conditions"][:3] = [{"bUcKeT": bucket}, ["StArTs-WiTh", "$KeY", "foo"], {"AcL": "private"}]
    fields = {("kEy" if name == "key" else name): value for name, value in signed(document).items()}
    assert post(raw, bucket, form(fields))[0] == 204
    assert s3.head_object(Bucket=bucket, Key="foo.txt")["ContentLength"] == 3


def test_anonymous(s3: Any, bucket: str, public: str, raw: http.client.HTTPConnection) -> None:
    """Without a signature a form may do what the bucket lets everybody do; the object is the bucket owner's."""
    tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    fields = {"key": "open.txt", "acl": "public-read", "tagging": tags, "success_action_status": "201"}
    status, _, body = post(raw, public, form(fields))
    assert (status, ElementTree.fromstring(body).findtext("Key")) == (201, "open.txt")
    assert s3.get_object_tagging(Bucket=public, Key="open.txt")["TagSet"] == [{"Key": "a", "Value": "1"}]
    assert s3.get_object_acl(Bucket=public, Key="open.txt")["Owner"]["ID"] == "main-id"
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    assert post(raw, bucket, form({"key": "closed.txt"}))[0] == 403


def test_redirect(server: Server, public: str, raw: http.client.HTTPConnection) -> None:
    """A form can send the browser on, with bucket, key and ETag; what is no URL is ignored."""
    page = f"{server.url}/{public}"
    status, headers, _ = post(raw, public, form({"key": "a b", "success_action_redirect": page}))
    assert status == 303
    etag = hashlib.md5(b"bar", usedforsecurity=False).hexdigest()
    assert headers["location"] == f"{page}?bucket={public}&key=a%20b&etag=%22{etag}%22"
    assert post(raw, public, form({"key": "k", "success_action_redirect": "javascript:1"}))[0] == 204
    raw.request("GET", headers["location"].removeprefix(server.url))
    assert raw.getresponse().status == 200


@pytest.mark.parametrize("size", [0, 1, 65535, 1024 * 1024 - 3, 1024 * 1024 + 1, 3 * 1024 * 1024 + 17])
def test_sizes(s3: Any, bucket: str, raw: http.client.HTTPConnection, size: int) -> None:
    """Files below and above what is held in memory arrive bit for bit, also when they look like boundaries."""
    data = (b"\r\n--" + BOUNDARY.encode()[:-1] + b"x" + bytes(range(256)))[:997] * (size // 997 + 1)
    assert post(raw, bucket, form(signed(conditions(bucket)), data[:size]))[0] == 204
    assert s3.get_object(Bucket=bucket, Key="foo.txt")["Body"].read() == data[:size]


def test_large_file_must_be_last(bucket: str, raw: http.client.HTTPConnection, s3: Any, refused: Any) -> None:
    """A long file that something follows is refused, because its size was not known; nothing becomes visible."""
    body = form(signed(conditions(bucket)), b"z" * (2 * 1024 * 1024), tail="")
    body = body[:-2] + b'\r\nContent-Disposition: form-data; name="submit"\r\n\r\ngo\r\n--' + BOUNDARY.encode() + b"--"
    status, _, answer = post(raw, bucket, body)
    assert (status, code(answer)) == (400, "MalformedPOSTRequest")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="foo.txt")


def test_checksum_field(s3: Any, public: str, raw: http.client.HTTPConnection, refused: Any) -> None:
    """A checksum among the fields is held against the file."""
    right = base64.b64encode(hashlib.sha256(b"bar").digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"baz").digest()).decode()
    assert post(raw, public, form({"key": "right", "x-amz-checksum-sha256": right}))[0] == 204
    status, _, body = post(raw, public, form({"key": "wrong", "x-amz-checksum-sha256": wrong}))
    assert (status, code(body)) == (400, "BadDigest")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=public, Key="wrong")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--",
        b"garbage",
        form({"key": "k"}, None),
        form({"acl": "private"}),
        f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
        form({"key": "k"})[:-40],
        form({"key": "k~"}).replace(b"k~", b"\xff"),
        form({"key": "x" * 1100}),
        form({f"f{number}": "x" * 2000 for number in range(200)}),
    ],
)
def test_malformed_forms(public: str, raw: http.client.HTTPConnection, body: bytes) -> None:
    """Whatever is sent as a form is answered with 4xx."""
    assert 400 <= post(raw, public, body)[0] < 500
