"""Access logs by real clients: configured, written in S3's form, delivered in time, and never in anybody's way."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moln_node.s3.access_log.line import Entry, operation
from moln_node.s3.settings import Settings
from moln_node.store.errors import StorageFullError

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import Server, serving

    Refused = Callable[[int, str], Any]

# a line, as tools that read the logs of S3 take it apart
LINE = re.compile(
    r"(?P<owner>\S+) (?P<bucket>\S+) \[(?P<time>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000)\] (?P<remote>\S+) "
    r"(?P<requester>\S+) "
    r'(?P<request_id>\S+) (?P<operation>\S+) (?P<key>\S+) "(?P<request_uri>[^"]*)" (?P<status>\d{3}) (?P<error>\S+) '
    r'(?P<sent>\S+) (?P<object_size>\S+) (?P<total>\S+) (?P<turn_around>\S+) "(?P<referrer>[^"]*)" '
    r'"(?P<user_agent>[^"]*)" (?P<version_id>\S+) (?P<host_id>\S+) (?P<signature>\S+) (?P<cipher>\S+) (?P<auth>\S+) '
    r"(?P<host>\S+) (?P<tls>\S+) (?P<access_point>\S+) (?P<acl_required>\S+)\n"
)


@pytest.fixture
def quick(serve: Callable[..., serving], tmp_path: Path) -> Iterator[Server]:
    """A server that delivers its logs ten times a second."""
    with serve(tmp_path, Settings(log_seconds=0.1)) as server:
        yield server


@pytest.fixture
def client(quick: Server) -> Iterator[Any]:
    """Its ordinary owner."""
    client = quick.client()
    yield client
    client.close()


def enable(client: Any, bucket: str, target: str, prefix: str = "log/", **more: Any) -> None:
    """Have a bucket logged."""
    client.put_bucket_logging(
        Bucket=bucket,
        BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": target, "TargetPrefix": prefix, **more}},
    )


def lines(client: Any, target: str, enough: Callable[[list[dict[str, str]]], bool]) -> list[dict[str, str]]:
    """What the log has, by the names of its fields, once that is enough."""
    deadline = time.monotonic() + 20
    while True:
        found = []
        for each in client.list_objects_v2(Bucket=target).get("Contents", []):
            text = client.get_object(Bucket=target, Key=each["Key"])["Body"].read().decode()
            matches = list(LINE.finditer(text))
            assert "".join(match.group() for match in matches) == text
            found += [match.groupdict() for match in matches]
        if enough(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_what_was_asked_is_told(quick: Server, client: Any) -> None:
    """Who, what, and how it ended: reads, writes, refusals; not the log's own writing, nor what came before."""
    client.create_bucket(Bucket="source")
    client.create_bucket(Bucket="logs")
    client.put_object(Bucket="source", Key="before", Body=b"x")
    enable(client, "source", "logs")
    client.put_object(Bucket="source", Key='a "key"', Body=b"content")
    client.get_object(Bucket="source", Key='a "key"', Range="bytes=1-3")["Body"].read()
    stranger = quick.client("ALTKEY", "alt-secret-key")
    forger = quick.client("MAINKEY", "no-secret-of-theirs")
    for wrong in (stranger, forger):
        with pytest.raises(wrong.exceptions.ClientError):
            wrong.list_objects_v2(Bucket="source")
        wrong.close()
    client.delete_objects(Bucket="source", Delete={"Objects": [{"Key": "before"}]})

    found = lines(client, "logs", lambda found: len(found) >= 6)
    told = [(x["operation"], x["key"], x["status"], x["error"], x["requester"]) for x in found]
    assert sorted(told) == [
        ("BATCH.DELETE.OBJECT", "before", "204", "-", "main-id"),
        ("REST.GET.BUCKET", "-", "403", "AccessDenied", "alt-id"),
        ("REST.GET.BUCKET", "-", "403", "SignatureDoesNotMatch", "-"),
        ("REST.GET.OBJECT", "a%20%22key%22", "206", "-", "main-id"),
        ("REST.POST.MULTI_OBJECT_DELETE", "-", "200", "-", "main-id"),
        ("REST.PUT.OBJECT", "a%20%22key%22", "200", "-", "main-id"),
    ]
    [get] = [x for x in found if x["operation"] == "REST.GET.OBJECT"]
    assert (get["owner"], get["bucket"], get["remote"]) == ("main-id", "source", "127.0.0.1")
    assert (get["sent"], get["object_size"], get["signature"], get["auth"]) == ("3", "7", "SigV4", "AuthHeader")
    assert get["request_uri"] == "GET /source/a%20%22key%22 HTTP/1.1"
    assert get["host"] == f"{quick.host}:{quick.port}"
    assert "Boto3" in get["user_agent"]
    listed = client.list_objects_v2(Bucket="logs")["Contents"]
    assert all(re.fullmatch(r"log/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}", each["Key"]) for each in listed)


def test_what_is_touched_besides_is_told(quick: Server, client: Any) -> None:
    """A copy in its source's log, also one that is refused; each of many deletes, however it ended."""
    for name in ("source", "target", "logs"):
        client.create_bucket(Bucket=name)
    first = client.put_object(Bucket="source", Key="a b", Body=b"x")
    enable(client, "source", "logs")
    client.copy_object(Bucket="target", Key="copy", CopySource={"Bucket": "source", "Key": "a b"})
    upload = client.create_multipart_upload(Bucket="target", Key="parts")["UploadId"]
    place = {"Bucket": "target", "Key": "parts", "UploadId": upload, "PartNumber": 1}
    client.upload_part_copy(**place, CopySource={"Bucket": "source", "Key": "a b"})
    stranger = quick.client("ALTKEY", "alt-secret-key")
    stranger.create_bucket(Bucket="stranger")
    with pytest.raises(stranger.exceptions.ClientError):
        stranger.copy_object(Bucket="stranger", Key="copy", CopySource={"Bucket": "source", "Key": "a b"})
    stranger.close()
    entries = [{"Key": "other"}, {"Key": "a b", "ETag": '"no"'}]
    client.delete_objects(Bucket="source", Delete={"Objects": entries})
    client.delete_objects(Bucket="source", Delete={"Objects": [{"Key": "a b", "ETag": first["ETag"]}], "Quiet": True})

    found = lines(client, "logs", lambda found: len(found) >= 8)
    told = [(x["operation"], x["bucket"], x["key"], x["status"], x["error"], x["requester"]) for x in found]
    assert sorted(told) == [
        ("BATCH.DELETE.OBJECT", "source", "a%20b", "204", "-", "main-id"),
        ("BATCH.DELETE.OBJECT", "source", "a%20b", "412", "PreconditionFailed", "main-id"),
        ("BATCH.DELETE.OBJECT", "source", "other", "204", "-", "main-id"),
        ("REST.COPY.OBJECT_GET", "source", "a%20b", "200", "-", "main-id"),
        ("REST.COPY.OBJECT_GET", "source", "a%20b", "403", "AccessDenied", "alt-id"),
        ("REST.COPY.PART_GET", "source", "a%20b", "200", "-", "main-id"),
        ("REST.POST.MULTI_OBJECT_DELETE", "source", "-", "200", "-", "main-id"),
        ("REST.POST.MULTI_OBJECT_DELETE", "source", "-", "200", "-", "main-id"),
    ]


def test_a_presigned_url_is_told_without_its_signature(client: Any) -> None:
    """Whoever reads the log cannot use what is in it."""
    client.create_bucket(Bucket="source")
    client.create_bucket(Bucket="logs")
    client.put_object(Bucket="source", Key="k", Body=b"x")
    enable(client, "source", "logs")
    url = client.generate_presigned_url("get_object", Params={"Bucket": "source", "Key": "k"})
    with urllib.request.urlopen(url) as answer:  # noqa: S310 the test's own server
        assert answer.read() == b"x"
    found = lines(client, "logs", lambda found: any(x["operation"] == "REST.GET.OBJECT" for x in found))
    [get] = [x for x in found if x["operation"] == "REST.GET.OBJECT"]
    assert get["auth"] == "QueryString"
    assert url.partition("X-Amz-Signature=")[2][:64] not in get["request_uri"]
    assert "X-Amz-Signature=-" in get["request_uri"]


def test_the_configuration_is_kept(s3: Any, bucket: str, new_bucket: Callable[[], str]) -> None:
    """Every form comes back as it was given; an empty status ends it."""
    target = new_bucket()
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    grantee = {"ID": "alt-id", "Type": "CanonicalUser", "DisplayName": "Alt"}
    forms: tuple[dict[str, Any], ...] = (
        {},
        {"TargetGrants": [{"Grantee": grantee, "Permission": "READ"}]},
        {"TargetObjectKeyFormat": {"SimplePrefix": {}}},
        {"TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}},
        {"TargetObjectKeyFormat": {"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}}},
    )
    for form in forms:
        enable(s3, bucket, target, "a <b>/", **form)
        kept = s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]
        assert kept == {"TargetBucket": target, "TargetPrefix": "a <b>/", **form}
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_nobody_has_lines_written_to_others(
    s3: Any, alt: Any, bucket: str, new_bucket: Callable[[], str], refused: Refused
) -> None:
    """The target must be there and the owner's own; documents that are none are refused; nothing is changed."""
    alt.create_bucket(Bucket="of-another-owner", ACL="public-read-write")
    for target in ("of-another-owner", "of-nobody-at-all"):
        with refused(400, "InvalidTargetBucketForLogging"):
            enable(s3, bucket, target)
    with refused(403, "AccessDenied"):
        enable(alt, bucket, "of-another-owner")
    with refused(400, "InvalidArgument"):
        enable(s3, bucket, bucket, "p" * 801)
    grantee = {"ID": "alt-id", "Type": "CanonicalUser"}
    with refused(400, "MalformedXML"):
        enable(s3, bucket, bucket, TargetGrants=[{"Grantee": grantee, "Permission": "READ_ACP"}])
    with refused(400, "MalformedXML"):
        enable(s3, bucket, bucket, TargetObjectKeyFormat={})
    enforced = new_bucket()
    s3.put_bucket_ownership_controls(
        Bucket=enforced, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    )
    with refused(400, "AccessControlListNotSupported"):
        enable(s3, bucket, enforced, TargetGrants=[{"Grantee": grantee, "Permission": "READ"}])
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)


def test_grants_encryption_and_partitions(quick: Server, client: Any) -> None:
    """The log's objects are the target's owner's, shared as asked, encrypted as their bucket is, below their day."""
    client.create_bucket(Bucket="source")
    client.create_bucket(Bucket="logs")
    client.put_bucket_encryption(
        Bucket="logs",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    grantee = {"ID": "alt-id", "Type": "CanonicalUser"}
    enable(
        client,
        "source",
        "logs",
        "",
        TargetGrants=[{"Grantee": grantee, "Permission": "READ"}],
        TargetObjectKeyFormat={"PartitionedPrefix": {"PartitionDateSource": "DeliveryTime"}},
    )
    client.head_bucket(Bucket="source")
    lines(client, "logs", bool)
    key = client.list_objects_v2(Bucket="logs")["Contents"][0]["Key"]
    assert re.fullmatch(r"main-id/us-east-1/source/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}", key)
    assert client.head_object(Bucket="logs", Key=key)["ServerSideEncryption"] == "AES256"
    assert client.get_object_acl(Bucket="logs", Key=key)["Owner"]["ID"] == "main-id"
    reader = quick.client("ALTKEY", "alt-secret-key")
    assert reader.get_object(Bucket="logs", Key=key)["Body"].read()
    reader.close()


def test_a_stop_writes_what_waits(serve: Callable[..., serving], tmp_path: Path) -> None:
    """A node that ends in good order loses no line, however seldom it delivers."""
    with serve(tmp_path, Settings(log_seconds=3600)) as server:
        client = server.client()
        for name in ("source", "logs"):
            client.create_bucket(Bucket=name)
        enable(client, "source", "logs")
        client.head_bucket(Bucket="source")
        assert "Contents" not in client.list_objects_v2(Bucket="logs")
        client.close()
    with serve(tmp_path) as server:
        client = server.client()
        assert [x["operation"] for x in lines(client, "logs", bool)] == ["REST.HEAD.BUCKET"]
        client.close()


def test_a_log_without_a_bucket_hurts_nobody(client: Any) -> None:
    """The target goes: requests go on as before, and what comes after another is named is told there."""
    for name in ("source", "logs", "more-logs"):
        client.create_bucket(Bucket=name)
    enable(client, "source", "logs")
    client.head_bucket(Bucket="source")
    lines(client, "logs", bool)
    for each in client.list_objects_v2(Bucket="logs")["Contents"]:
        client.delete_object(Bucket="logs", Key=each["Key"])
    client.delete_bucket(Bucket="logs")
    client.put_object(Bucket="source", Key="k", Body=b"x")
    time.sleep(0.3)
    enable(client, "source", "more-logs")
    assert client.get_object(Bucket="source", Key="k")["Body"].read() == b"x"
    assert [x["operation"] for x in lines(client, "more-logs", bool)] == ["REST.GET.OBJECT"]


def test_what_cannot_be_written_now_is_written_later(
    quick: Server, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: the lines wait, and come in their order with the next."""
    for name in ("source", "logs"):
        client.create_bucket(Bucket=name)
    enable(client, "source", "logs")
    put = quick.objects.put
    refusals: list[str] = []

    async def full(*arguments: Any, **more: Any) -> Any:
        if arguments[0] == "logs" and len(refusals) < 3:
            refusals.append(arguments[1])
            raise StorageFullError("no room")
        return await put(*arguments, **more)

    monkeypatch.setattr(quick.objects, "put", full)
    client.head_bucket(Bucket="source")
    deadline = time.monotonic() + 20
    while len(refusals) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.get_bucket_location(Bucket="source")
    found = lines(client, "logs", lambda found: len(found) == 2)
    assert [x["operation"] for x in found] == ["REST.HEAD.BUCKET", "REST.GET.LOCATION"]
    assert len(refusals) == 3


def test_log_delivery_is_a_group_of_its_own(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """Its canned ACL is kept and shown, and lets nobody in: the bucket is not public for it."""
    s3.put_bucket_acl(Bucket=bucket, ACL="log-delivery-write")
    group = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/LogDelivery"}
    grants = s3.get_bucket_acl(Bucket=bucket)["Grants"]
    assert [x["Permission"] for x in grants if x["Grantee"] == group] == ["WRITE", "READ_ACP"]
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is False
    raw.request("PUT", f"/{bucket}/k", b"x")
    assert raw.getresponse().status == 403


@pytest.mark.parametrize(
    ("method", "key", "query", "copies", "expected"),
    [
        ("GET", "", {}, False, "REST.GET.BUCKET"),
        ("HEAD", "k", {"versionId": "v"}, False, "REST.HEAD.OBJECT"),
        ("POST", "", {}, False, "REST.POST.OBJECT"),
        ("PUT", "k", {}, True, "REST.COPY.OBJECT"),
        ("PUT", "k", {"uploadId": "u", "partNumber": "1"}, False, "REST.PUT.PART"),
        ("PUT", "k", {"uploadId": "u", "partNumber": "1"}, True, "REST.COPY.PART"),
        ("POST", "k", {"uploadId": "u"}, False, "REST.POST.UPLOAD"),
        ("POST", "k", {"uploads": ""}, False, "REST.POST.UPLOADS"),
        ("GET", "", {"tagging": ""}, False, "REST.GET.TAGGING"),
        ("PUT", "k", {"tagging": ""}, False, "REST.PUT.OBJECT_TAGGING"),
        ("DELETE", "", {"policy": ""}, False, "REST.DELETE.BUCKETPOLICY"),
        ("OPTIONS", "k", {}, False, "REST.OPTIONS.PREFLIGHT"),
    ],
)
def test_operations(method: str, key: str, query: dict[str, str], copies: bool, expected: str) -> None:
    """In S3's words."""
    assert operation(method, key, query, copies=copies) == expected


@given(st.text(), st.text(), st.text(), st.text())
def test_what_clients_write_stays_in_its_field(key: str, agent: str, referrer: str, uri: str) -> None:
    """Quotes, spaces and line ends of a stranger make no field and no line of their own."""
    entry = Entry(
        owner="o", bucket="b", moment=0, remote="::1", requester="", request_id="R", host_id="H", method="GET", key=key,
        query={"versionId": key}, copies=False, request_uri=uri, status=200, error="", sent=0, object_size=None,
        seconds=0.0015, referrer=referrer, user_agent=agent, signature_version="", auth_type="", host=uri, cipher="",
        tls_version="",
    )  # fmt: skip
    line = entry.render()
    match = LINE.fullmatch(line)
    assert match is not None, line
    assert match["total"] == "2"
    assert line.isascii()
