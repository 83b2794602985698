"""Server-side encryption, by real clients: what comes back, who gets it, and that no disk holds a plain byte."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.node.s3.test_post_object import form, post

from moln_spec.credentials import Credentials

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.node.s3.conftest import Server, serving

CUSTOMER_KEY: Final = bytes(range(32))
OTHER_KEY: Final = bytes(32)
PART: Final = 5 * 1024 * 1024
MARK: Final = b"these bytes must never be on a disk in the clear; "
SIZES: Final = (0, 1, 13, 1000, 64 * 1024, 200_000, 1_300_000)
METHOD: Final = "x-amz-server-side-encryption"


def customer(key: bytes = CUSTOMER_KEY, prefix: str = "SSECustomer") -> dict[str, Any]:
    """A customer's key, as boto3 wants it."""
    return {f"{prefix}Algorithm": "AES256", f"{prefix}Key": key}


def encoded(asked: dict[str, Any]) -> dict[str, Any]:
    """The same for GetObjectAttributes, for which boto3 encodes nothing by itself."""
    if not asked:
        return {}
    key = asked["SSECustomerKey"]
    md5 = hashlib.md5(key, usedforsecurity=False).digest()
    return asked | {
        "SSECustomerKey": base64.b64encode(key).decode(),
        "SSECustomerKeyMD5": base64.b64encode(md5).decode(),
    }


WRITES: Final[dict[str, dict[str, Any]]] = {
    "clear": {},
    "SSE-S3": {"ServerSideEncryption": "AES256"},
    "SSE-KMS": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "second"},
    "SSE-C": customer(),
}
COVERS: Final = [name for name in WRITES if name != "clear"]


def reading(cover: str) -> dict[str, Any]:
    """What a read of an object with this cover must say."""
    return customer() if cover == "SSE-C" else {}


def check_told(answer: dict[str, Any], cover: str) -> None:
    """An answer says how its object is encrypted."""
    asked = WRITES[cover]
    assert answer.get("ServerSideEncryption") == asked.get("ServerSideEncryption")
    assert answer.get("SSEKMSKeyId") == asked.get("SSEKMSKeyId")
    md5 = base64.b64encode(hashlib.md5(CUSTOMER_KEY, usedforsecurity=False).digest()).decode()
    assert answer.get("SSECustomerKeyMD5") == (md5 if cover == "SSE-C" else None)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cover", COVERS)
def test_an_encrypted_object_comes_back(s3: Any, bucket: str, cover: str, size: int) -> None:
    """Whole and in ranges, with the client's size everywhere, and the answers tell how it is encrypted."""
    data = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, Metadata={"a": "b"}, **WRITES[cover])
    check_told(put, cover)
    got = s3.get_object(Bucket=bucket, Key="k", **reading(cover))
    check_told(got, cover)
    assert (got["Body"].read(), got["ContentLength"], got["Metadata"]) == (data, size, {"a": "b"})
    head = s3.head_object(Bucket=bucket, Key="k", **reading(cover))
    check_told(head, cover)
    assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])
    is_md5 = put["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert is_md5 == (cover == "SSE-S3")
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == size
    assert s3.list_object_versions(Bucket=bucket)["Versions"][0]["Size"] == size
    facts = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"], **encoded(reading(cover)))
    assert facts["ObjectSize"] == size
    for start, end in itertools.combinations(sorted({0, size // 3, 64 * 1024 - 1, 64 * 1024, size - 1, size}), 2):
        if 0 <= start < end <= size:
            part = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={start}-{end - 1}", **reading(cover))
            assert part["ContentRange"] == f"bytes {start}-{end - 1}/{size}"
            assert part["Body"].read() == data[start:end]


@pytest.mark.parametrize("cover", COVERS)
def test_parts_are_encrypted_by_themselves(s3: Any, bucket: str, cover: str) -> None:
    """An upload in parts, one sent twice and one copied: ranges go across them, and each part can be asked for."""
    first, second, last = os.urandom(PART), os.urandom(PART + 77), os.urandom(1234)
    s3.put_object(Bucket=bucket, Key="source", Body=b"xx" + second, **WRITES[cover])
    source = customer(prefix="CopySourceSSECustomer") if cover == "SSE-C" else {}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", **WRITES[cover])
    check_told(upload, cover)
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    s3.upload_part(**named, PartNumber=1, Body=os.urandom(PART), **reading(cover))
    sent = s3.upload_part(**named, PartNumber=1, Body=first, **reading(cover))
    check_told(sent, cover)
    copied = s3.upload_part_copy(
        **named,
        PartNumber=4,
        CopySource={"Bucket": bucket, "Key": "source"},
        CopySourceRange=f"bytes=2-{len(second) + 1}",
        **reading(cover),
        **source,
    )["CopyPartResult"]
    final = s3.upload_part(**named, PartNumber=9, Body=last, **reading(cover))
    assert [part["Size"] for part in s3.list_parts(**named)["Parts"]] == [PART, PART + 77, 1234]
    etags = [(1, sent["ETag"]), (4, copied["ETag"]), (9, final["ETag"])]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in etags]
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    assert s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})["ETag"] == done["ETag"]
    whole = first + second + last
    got = s3.get_object(Bucket=bucket, Key="k", **reading(cover))
    check_told(got, cover)
    assert (got["Body"].read(), got["ContentLength"]) == (whole, len(whole))
    for start, end in [(0, 1), (PART - 3, PART + 3), (PART - 70_000, PART + 70_000), (1, len(whole) - 1)]:
        got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={start}-{end - 1}", **reading(cover))
        assert got["Body"].read() == whole[start:end]
    assert s3.get_object(Bucket=bucket, Key="k", PartNumber=4, **reading(cover))["Body"].read() == second
    head = s3.head_object(Bucket=bucket, Key="k", PartNumber=9, **reading(cover))
    assert (head["ContentLength"], head["PartsCount"]) == (1234, 3)
    assert s3.list_objects_v2(Bucket=bucket, Prefix="k")["Contents"][0]["Size"] == len(whole)


@pytest.mark.parametrize("target", [*WRITES, "by default"])
@pytest.mark.parametrize("source", WRITES)
def test_a_copy_has_the_cover_that_it_asks_for(
    s3: Any, new_bucket: Callable[[], str], source: str, target: str
) -> None:
    """Whatever the source's: a copy's own is that of its headers, or its bucket's default."""
    here, there = new_bucket(), new_bucket()
    data = os.urandom(150_000)
    s3.put_object(Bucket=here, Key="k", Body=data, Metadata={"a": "b"}, **WRITES[source])
    cover = target
    if target == "by default":
        cover = "SSE-S3"
        set_default(s3, there, {"SSEAlgorithm": "AES256"})
    opening = customer(prefix="CopySourceSSECustomer") if source == "SSE-C" else {}
    asking = {} if target == "by default" else WRITES[target]
    made = s3.copy_object(Bucket=there, Key="k", CopySource={"Bucket": here, "Key": "k"}, **opening, **asking)
    check_told(made, cover)
    got = s3.get_object(Bucket=there, Key="k", **reading(cover))
    check_told(got, cover)
    assert (got["Body"].read(), got["Metadata"]) == (data, {"a": "b"})


def set_default(s3: Any, bucket: str, rule: dict[str, str]) -> None:
    """Give a bucket a default encryption."""
    configuration = {"Rules": [{"ApplyServerSideEncryptionByDefault": rule}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=configuration)


def test_an_object_is_encrypted_anew_in_place(s3: Any, bucket: str, refused: Callable[[int, str], Any]) -> None:
    """A copy onto itself may change the encryption alone; one that changes nothing is refused."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"bytes")
    source = {"Bucket": bucket, "Key": "k"}
    with refused(400, "InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **customer())
    again = customer(OTHER_KEY) | customer(prefix="CopySourceSSECustomer")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **again)
    assert s3.get_object(Bucket=bucket, Key="k", **customer(OTHER_KEY))["Body"].read() == b"bytes"


def test_only_the_customers_key_opens_what_it_closed(s3: Any, bucket: str, refused: Callable[[int, str], Any]) -> None:
    """Without it, with another, or where none is needed: refused, on reads, facts, copies and parts."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"bytes", **customer())
    s3.put_object(Bucket=bucket, Key="clear", Body=b"bytes")
    for wrong in ({}, customer(OTHER_KEY)):
        with refused(400, "InvalidRequest"):
            s3.get_object(Bucket=bucket, Key="k", **wrong)
        with refused(400, "400"):
            s3.head_object(Bucket=bucket, Key="k", **wrong)
        with refused(400, "InvalidRequest"):
            s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ETag"], **encoded(wrong))
        opening = customer(OTHER_KEY, prefix="CopySourceSSECustomer") if wrong else {}
        with refused(400, "InvalidRequest"):
            s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"}, **opening)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", **customer())["UploadId"]
    for wrong in ({}, customer(OTHER_KEY)):
        with refused(400, "InvalidRequest"):
            s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x", **wrong)
    plain = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    with refused(400, "InvalidRequest"):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=plain, PartNumber=1, Body=b"x", **customer())
    with refused(400, "InvalidRequest"):
        s3.get_object(Bucket=bucket, Key="clear", **customer())
    with refused(400, "InvalidRequest"):
        s3.copy_object(
            Bucket=bucket,
            Key="c",
            CopySource={"Bucket": bucket, "Key": "clear"},
            **customer(prefix="CopySourceSSECustomer"),
        )
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["clear", "k"]


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client that a test may bend."""
    made = server.client()
    yield made
    made.close()


def headers_of(s3: Any, **wanted: str) -> None:
    """Let a client send these headers with every put and read, as it would not by itself."""

    def add(params: dict[str, Any], **_: Any) -> None:
        params["headers"].update({name.replace("_", "-"): value for name, value in wanted.items()})

    for operation in ("PutObject", "GetObject", "HeadObject", "UploadPart"):
        s3.meta.events.register(f"before-call.s3.{operation}", add)


SENT: Final = {
    "algorithm": "AES256",
    "key": base64.b64encode(CUSTOMER_KEY).decode(),
    "key-MD5": base64.b64encode(hashlib.md5(CUSTOMER_KEY, usedforsecurity=False).digest()).decode(),
}


def customers(**changes: str | None) -> dict[str, str]:
    """The three headers of a customer's key, some changed or left out."""
    values = {**SENT, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return {f"{METHOD}-customer-{name}": value for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({METHOD: "aes:kms"}, 400, "InvalidArgument"),
        ({METHOD: "AES256", f"{METHOD}-aws-kms-key-id": "second"}, 400, "InvalidArgument"),
        ({f"{METHOD}-aws-kms-key-id": "second"}, 400, "InvalidArgument"),
        ({METHOD: "aws:kms"}, 400, "InvalidArgument"),
        ({METHOD: "aws:kms", f"{METHOD}-aws-kms-key-id": "unknown"}, 400, "KMS.NotFoundException"),
        ({METHOD: "aws:kms:dsse"}, 501, "NotImplemented"),
        (
            {METHOD: "aws:kms", f"{METHOD}-aws-kms-key-id": "second", f"{METHOD}-context": "e30="},
            501,
            "NotImplemented",
        ),
        ({METHOD: "AES256", **customers()}, 400, "InvalidArgument"),
        (customers(algorithm=None), 400, "InvalidArgument"),
        (customers(key=None), 400, "InvalidArgument"),
        (customers(key_MD5=None), 400, "InvalidArgument"),
        (customers(algorithm="AES192"), 400, "InvalidArgument"),
        (customers(key="c2hvcnQ="), 400, "InvalidArgument"),
        (customers(key_MD5="AAAAAAAAAAAAAAAAAAAAAA=="), 400, "InvalidArgument"),
    ],
)
def test_headers_that_make_no_sense_write_nothing(
    client: Any,
    s3: Any,
    bucket: str,
    refused: Callable[[int, str], Any],
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    """They are named, nothing is written, and a customer's key is never said back."""
    headers_of(client, **headers)
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
    error = caught.value.response
    assert (error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]) == (status, code)
    assert SENT["key"] not in str(error)
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")


def test_a_read_has_no_say_in_the_method(client: Any, s3: Any, bucket: str, refused: Callable[[int, str], Any]) -> None:
    """S3 refuses the method's header on reads; on a part it may repeat what the upload has settled."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **WRITES["SSE-KMS"])
    upload = s3.create_multipart_upload(Bucket=bucket, Key="p", **WRITES["SSE-KMS"])["UploadId"]
    plain = s3.create_multipart_upload(Bucket=bucket, Key="p")["UploadId"]
    headers_of(client, **{METHOD: "aws:kms"})
    with refused(400, "InvalidArgument"):
        client.get_object(Bucket=bucket, Key="k")
    with refused(400, "400"):
        client.head_object(Bucket=bucket, Key="k")
    assert (
        client.upload_part(Bucket=bucket, Key="p", UploadId=upload, PartNumber=1, Body=b"x")["SSEKMSKeyId"] == "second"
    )
    with refused(400, "InvalidArgument"):
        client.upload_part(Bucket=bucket, Key="p", UploadId=plain, PartNumber=1, Body=b"x")


def test_a_buckets_default_is_for_what_comes_from_now_on(
    s3: Any, bucket: str, refused: Callable[[int, str], Any], raw: http.client.HTTPConnection
) -> None:
    """Set, shown, obeyed by puts, parts and forms, overruled by a request, and removed again."""
    with refused(404, "ServerSideEncryptionConfigurationNotFoundError"):
        s3.get_bucket_encryption(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="before", Body=b"x")
    set_default(s3, bucket, {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "second"})
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "second"}
    check_told(s3.put_object(Bucket=bucket, Key="k", Body=b"x"), "SSE-KMS")
    check_told(s3.create_multipart_upload(Bucket=bucket, Key="k"), "SSE-KMS")
    check_told(s3.put_object(Bucket=bucket, Key="own", Body=b"x", **customer()), "SSE-C")
    check_told(s3.put_object(Bucket=bucket, Key="s3", Body=b"x", **WRITES["SSE-S3"]), "SSE-S3")
    fields = s3.generate_presigned_post(bucket, "form")["fields"]
    assert post(raw, bucket, form(fields, b"x"))[0] == 204
    check_told(s3.head_object(Bucket=bucket, Key="form"), "SSE-KMS")
    assert "ServerSideEncryption" not in s3.head_object(Bucket=bucket, Key="before")
    s3.delete_bucket_encryption(Bucket=bucket)
    check_told(s3.put_object(Bucket=bucket, Key="after", Body=b"x"), "clear")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


@pytest.mark.parametrize(
    ("rule", "status", "code"),
    [
        ({"SSEAlgorithm": "AES128"}, 400, "MalformedXML"),
        ({"SSEAlgorithm": "aws:kms:dsse"}, 501, "NotImplemented"),
        ({"SSEAlgorithm": "AES256", "KMSMasterKeyID": "second"}, 400, "InvalidArgument"),
        ({"SSEAlgorithm": "aws:kms"}, 400, "InvalidArgument"),
    ],
)
def test_a_default_that_makes_no_sense_is_refused(
    s3: Any, bucket: str, refused: Callable[[int, str], Any], rule: dict[str, str], status: int, code: str
) -> None:
    """And the bucket has none."""
    with refused(status, code):
        set_default(s3, bucket, rule)
    with refused(404, "ServerSideEncryptionConfigurationNotFoundError"):
        s3.get_bucket_encryption(Bucket=bucket)


def test_a_form_is_encrypted_as_its_fields_say(s3: Any, bucket: str, raw: http.client.HTTPConnection) -> None:
    """The customer's key in a browser's form."""
    fields = customers()
    conditions = [{name: value} for name, value in fields.items()]
    signed = s3.generate_presigned_post(bucket, "k", Fields=fields, Conditions=conditions)["fields"]
    status, answer, _ = post(raw, bucket, form(signed, b"bytes"))
    assert (status, answer[f"{METHOD}-customer-algorithm"]) == (204, "AES256")
    assert s3.get_object(Bucket=bucket, Key="k", **customer())["Body"].read() == b"bytes"


def test_conditions_and_checksums_are_of_the_clients_bytes(
    s3: Any, bucket: str, refused: Callable[[int, str], Any]
) -> None:
    """A wrong digest writes nothing, a right one is shown, etags hold in conditions, sizes in those of deletes."""
    wrong = base64.b64encode(bytes(16)).decode()
    with refused(400, "BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"bytes", ContentMD5=wrong, **customer())
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"bytes", ChecksumAlgorithm="SHA256", **customer())
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", **customer())
    assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(b"bytes").digest()
    with refused(304, "304"):
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=put["ETag"], **customer())
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"other", IfNoneMatch="*", **customer())
    with refused(412, "PreconditionFailed"):
        s3.delete_object(Bucket=bucket, Key="k", IfMatchSize=6)
    s3.delete_object(Bucket=bucket, Key="k", IfMatchSize=5)


@pytest.mark.parametrize("cover", COVERS)
def test_no_disk_holds_a_plain_byte(serve: Callable[[Path], serving], tmp_path: Path, cover: str) -> None:
    """Small and large bodies and parts, looked for in every file that the cloud has written."""
    with serve(tmp_path) as running, closing(running.client()) as s3:
        s3.create_bucket(Bucket="bucket")
        for count in (1, 5_000, 40_000):
            s3.put_object(Bucket="bucket", Key=f"{count}", Body=MARK * count, **WRITES[cover])
        upload = s3.create_multipart_upload(Bucket="bucket", Key="parts", **WRITES[cover])["UploadId"]
        s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=MARK * 99, **reading(cover))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 2_000_000  # it does not compress, so it is there
    for path in files:
        content = path.read_bytes()
        assert MARK[:24] not in content
        assert CUSTOMER_KEY not in content
        assert base64.b64encode(CUSTOMER_KEY) not in content


def test_without_a_master_key_nothing_is_promised(
    serve: Callable[[Path], serving], tmp_path: Path, refused: Callable[[int, str], Any]
) -> None:
    """A cloud without one refuses SSE-S3; one that has lost it does not serve what it closed, and the rest it does."""
    with serve(tmp_path) as running, closing(running.client()) as s3:
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="k", Body=b"bytes", **WRITES["SSE-S3"])
        keyring = running.keyring
        keyring.replace(Credentials(keys=running.credentials.keys))
        with refused(501, "NotImplemented"):
            s3.put_object(Bucket="bucket", Key="new", Body=b"bytes", **WRITES["SSE-S3"])
        with refused(501, "NotImplemented"):
            set_default(s3, "bucket", {"SSEAlgorithm": "AES256"})
        with refused(503, "ServiceUnavailable"):
            s3.get_object(Bucket="bucket", Key="k")
        assert s3.head_object(Bucket="bucket", Key="k")["ContentLength"] == 5
        s3.put_object(Bucket="bucket", Key="own", Body=b"bytes", **customer())
        assert s3.get_object(Bucket="bucket", Key="own", **customer())["Body"].read() == b"bytes"
        first, second = running.credentials.master_keys
        keyring.replace(running.credentials.model_copy(update={"master_keys": (second, first)}))
        assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"bytes"  # an older key still opens
