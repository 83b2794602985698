"""SigV2 in the Authorization header: real clients that know nothing else work, and what it leaves open is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from moln_node.s3.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Server


@pytest.fixture
def old(server: Server) -> Iterator[Any]:
    """A boto3 client that signs with SigV2."""
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        aws_access_key_id="MAINKEY",
        aws_secret_access_key="main-secret-key",
        region_name="us-east-1",
        config=Config(signature_version="s3", retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    yield client
    client.close()


def now() -> str:
    """The time as HTTP has it."""
    return format_datetime(datetime.now(UTC), usegmt=True)


def signed(
    method: str,
    path: str,
    headers: dict[str, str],
    *,
    resource: str | None = None,
    secret: str = "main-secret-key",  # noqa: S107 a test's
) -> dict[str, str]:
    """Headers with a signature of MAINKEY over method, Content-MD5, Content-Type, Date and x-amz- headers."""
    amz = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-"))
    date = "" if "x-amz-date" in headers else headers.get("Date", "")
    kept = f"{headers.get('Content-MD5', '')}\n{headers.get('Content-Type', '')}"
    text = f"{method}\n{kept}\n{date}\n{amz}{resource or path}"
    signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha1)).decode()
    return headers | {"Authorization": f"AWS MAINKEY:{signature}"}


def ask(
    raw: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, bytes]:
    """One request, as it is; status and body of the answer."""
    raw.request(method, path, body, headers)
    answer = raw.getresponse()
    return answer.status, answer.read()


def test_an_old_client_does_its_work(old: Any, new_bucket: Callable[[], str]) -> None:
    """Objects with odd names and headers, sub-resources, overrides, uploads, copies, listings."""
    bucket = new_bucket()
    assert bucket in {each["Name"] for each in old.list_buckets()["Buckets"]}
    old.put_object(Bucket=bucket, Key="ä +&%/x", Body=b"text", Metadata={"a": "b"}, ContentType="text/plain")
    got = old.get_object(Bucket=bucket, Key="ä +&%/x", ResponseContentType="x/y; a=b c", Range="bytes=1-2")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"ex", "x/y; a=b c", {"a": "b"})
    old.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "ä +&%/x"})
    upload = old.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = old.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"part")
    old.complete_multipart_upload(
        Bucket=bucket,
        Key="parts",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    listed = old.list_objects_v2(Bucket=bucket, MaxKeys=2, FetchOwner=True)
    more = old.list_objects_v2(Bucket=bucket, ContinuationToken=listed["NextContinuationToken"])
    assert [each["Key"] for each in [*listed["Contents"], *more["Contents"]]] == ["copy", "parts", "ä +&%/x"]
    deleted = old.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "copy"}]})["Deleted"]
    old.delete_object(Bucket=bucket, Key="copy", VersionId=deleted[0]["DeleteMarkerVersionId"])
    assert old.head_object(Bucket=bucket, Key="copy")["ContentLength"] == 4
    assert old.get_bucket_acl(Bucket=bucket)["Owner"]["ID"] == "main-id"


def test_what_was_signed_is_what_is_sent(raw: http.client.HTTPConnection, bucket: str) -> None:
    """Another method, path, type, x-amz- header or secret than was signed: 403, and nothing is written."""
    path = f"/{bucket}/key"
    headers = signed("PUT", path, {"Date": now(), "Content-Type": "a/b", "x-amz-meta-a": "1"})
    changes: list[tuple[str, str, dict[str, str]]] = [
        ("DELETE", path, headers),
        ("PUT", f"{path}2", headers),
        ("PUT", path, headers | {"Content-Type": "a/c"}),
        ("PUT", path, headers | {"x-amz-meta-a": "2"}),
        ("PUT", path, headers | {"x-amz-meta-b": "2"}),
        ("PUT", path, headers | {"Content-MD5": "rL0Y20xC+Fzt72VPzMSk2A=="}),
        ("PUT", f"{path}?acl", headers),
        ("PUT", path, signed("PUT", path, {"Date": now()}, secret="another-secret")),
    ]
    for method, target, sent in changes:
        status, answer = ask(raw, method, target, sent, b"body")
        assert (status, b"<Code>SignatureDoesNotMatch</Code>" in answer) == (403, True), (method, target, answer)
    assert ask(raw, "GET", path, signed("GET", path, {"Date": now()}))[0] == 404
    assert ask(raw, "PUT", path, headers, b"body")[0] == 200


@pytest.mark.parametrize("sub", ["publicAccessBlock", "ownershipControls", "encryption", "policyStatus", "quota"])
def test_what_the_signature_would_leave_out_is_refused(raw: http.client.HTTPConnection, bucket: str, sub: str) -> None:
    """A newer sub-resource is not signed: whoever heard a request for the bucket could add it."""
    headers = signed("GET", f"/{bucket}", {"Date": now()})
    assert ask(raw, "GET", f"/{bucket}", headers)[0] == 200
    status, answer = ask(raw, "GET", f"/{bucket}?{sub}", headers)
    assert (status, b"use AWS4-HMAC-SHA256" in answer) == (400, True), answer


@pytest.mark.parametrize("name", ["Date", "x-amz-date"])
@pytest.mark.parametrize(
    ("moment", "code"),
    [(timedelta(minutes=-16), b"RequestTimeTooSkewed"), (timedelta(minutes=16), b"RequestTimeTooSkewed")],
)
def test_a_request_lives_a_quarter_of_an_hour(
    raw: http.client.HTTPConnection, bucket: str, name: str, moment: timedelta, code: bytes
) -> None:
    """Whichever header has the time."""
    sent = {name: format_datetime(datetime.now(UTC) + moment, usegmt=True)}
    status, answer = ask(raw, "GET", f"/{bucket}", signed("GET", f"/{bucket}", sent))
    assert (status, code in answer) == (403, True), answer
    fresh = {name: now()} | ({} if name == "Date" else {"Date": "yesterday"})
    assert ask(raw, "GET", f"/{bucket}", signed("GET", f"/{bucket}", fresh))[0] == 200


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        ("AWS NOBODY:bm9uc2Vuc2U=", 403, b"InvalidAccessKeyId"),
        ("AWS MAINKEY:bm9uc2Vuc2U=", 403, b"SignatureDoesNotMatch"),
        ("AWS MAINKEY:\xe4", 403, b"SignatureDoesNotMatch"),
        ("AWS MAINKEY", 400, b"InvalidArgument"),
        ("AWS MAINKEY:", 400, b"InvalidArgument"),
        ("AWS :x", 400, b"InvalidArgument"),
        ("AWS", 400, b"InvalidArgument"),
    ],
)
def test_what_is_no_signature(
    raw: http.client.HTTPConnection, bucket: str, authorization: str, status: int, code: bytes
) -> None:
    """AWS's codes."""
    found, answer = ask(raw, "GET", f"/{bucket}", {"Date": now(), "Authorization": authorization})
    assert (found, code in answer) == (status, True), answer


def test_a_policy_can_refuse_it(old: Any, s3: Any, bucket: str, refused: Callable[[int, str], Any]) -> None:
    """s3:signatureversion tells the two apart."""
    s3.put_object(Bucket=bucket, Key="key", Body=b"x")
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:Get*",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"StringEquals": {"s3:signatureversion": "AWS"}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"x"
    with refused(403, "AccessDenied"):
        old.get_object(Bucket=bucket, Key="key")


def test_a_virtual_host_is_part_of_what_is_signed(serve: Any, tmp_path: Any) -> None:
    """The bucket of the host comes first in the resource, as the SDKs have it."""
    with serve(tmp_path, Settings(domains=("s3.test",))) as server:
        raw = http.client.HTTPConnection(server.host, server.port, timeout=30)
        assert ask(raw, "PUT", "/some", signed("PUT", "/some", {"Date": now()}))[0] == 200
        host = {"Date": now(), "Host": "some.s3.test"}
        assert ask(raw, "PUT", "/key", signed("PUT", "/key", host, resource="/some/key"), b"x")[0] == 200
        assert ask(raw, "PUT", "/key", signed("PUT", "/key", host), b"x")[0] == 403
        raw.close()
