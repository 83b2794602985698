"""Multipart uploads by boto3: parts, completion, checksums, copies of parts, listings, aborts."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from boto3.s3.transfer import TransferConfig

from moln_node.s3.checksums import ALGORITHMS, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]

MIB = 1024 * 1024
PART = 5 * MIB


class Uploading:
    """One upload of key `k`, and the parts sent so far."""

    def __init__(self, s3: Any, bucket: str, **parameters: Any) -> None:
        self.s3 = s3
        self.place = {"Bucket": bucket, "Key": "k"}
        self.answer = s3.create_multipart_upload(**self.place, **parameters)
        self.place["UploadId"] = self.answer["UploadId"]
        self.parts: list[dict[str, Any]] = []

    def send(self, number: int, body: bytes, **parameters: Any) -> dict[str, Any]:
        """Send a part, and remember it as a completion names it."""
        answer: dict[str, Any] = self.s3.upload_part(**self.place, PartNumber=number, Body=body, **parameters)
        checksums = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        self.parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksums})
        return answer

    def complete(self, parts: list[dict[str, Any]] | None = None, **parameters: Any) -> dict[str, Any]:
        """Complete with these parts, or with all."""
        chosen = self.parts if parts is None else parts
        answer: dict[str, Any] = self.s3.complete_multipart_upload(
            **self.place, MultipartUpload={"Parts": chosen}, **parameters
        )
        return answer


def plain(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Parts without their checksums."""
    return [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]


def md5(data: bytes) -> bytes:
    """The digest that etags are made of."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def digest(name: str, data: bytes) -> str:
    """A checksum as S3 shows it."""
    hasher = ALGORITHMS[name].new()
    hasher.update(data)
    return encode(hasher.digest())


def test_parts_become_the_object(s3: Any, bucket: str) -> None:
    """Bytes, size, etag, headers, metadata and tags are those of the upload; parts can be read one by one."""
    upload = Uploading(s3, bucket, ContentType="x/y", Metadata={"a": "b"}, Tagging="t=1", CacheControl="no-cache")
    bodies = [os.urandom(PART), os.urandom(PART + 1), os.urandom(10)]
    for number, body in zip((1, 5, 10_000), bodies, strict=True):
        upload.send(number, body)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    answer = upload.complete()
    etag = f'"{hashlib.md5(b"".join(md5(body) for body in bodies), usedforsecurity=False).hexdigest()}-3"'
    assert (answer["ETag"], answer["Bucket"], answer["Key"]) == (etag, bucket, "k")
    assert answer["Location"].endswith(f"/{bucket}/k")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(bodies)
    assert (got["ETag"], got["ContentType"], got["CacheControl"]) == (etag, "x/y", "no-cache")
    assert (got["Metadata"], got["TagCount"]) == ({"a": "b"}, 1)
    for number, body in zip((1, 5, 10_000), bodies, strict=True):
        part = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        assert (part["PartsCount"], part["ContentLength"]) == (3, len(body))
        assert part["Body"].read() == body
    assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={PART - 2}-{PART + 2}")["Body"].read() == (
        bodies[0][-2:] + bodies[1][:3]
    )
    assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_boto3s_transfer_manager(s3: Any, bucket: str) -> None:
    """What most programs do: parts in parallel, up and down."""
    body = os.urandom(3 * PART + 17)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
    s3.upload_fileobj(io.BytesIO(body), bucket, "k", Config=config)
    sink = io.BytesIO()
    s3.download_fileobj(bucket, "k", sink, Config=config)
    assert sink.getvalue() == body


def test_completions_that_do_not_fit_are_refused(s3: Any, bucket: str, refused: Refused) -> None:
    """No parts, wrong order, a part that is not there, another etag, a small one before the last; then it works.

    A part may be named twice, as by a client that sent it twice: what it says last counts.
    """
    upload = Uploading(s3, bucket)
    upload.send(1, b"x" * PART)
    upload.send(2, b"small")
    upload.send(3, b"last")
    first, small, last = upload.parts
    with refused(400, "MalformedXML"):
        upload.complete([])
    with refused(400, "MalformedXML"):
        s3.complete_multipart_upload(**upload.place)
    with refused(400, "InvalidPartOrder"):
        upload.complete([last, first])
    with refused(400, "InvalidPart"):
        upload.complete([first, {**last, "PartNumber": 9}])
    with refused(400, "InvalidPart"):
        upload.complete([first, {**last, "ETag": first["ETag"]}])
    with refused(400, "EntityTooSmall"):
        upload.complete([first, small, last])
    with refused(400, "InvalidPart"):
        upload.complete([first, {**first, "ETag": small["ETag"]}, small])
    upload.complete([{**first, "ETag": small["ETag"]}, first, small])
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == PART + 5


def test_a_part_sent_again_replaces_the_first(s3: Any, bucket: str, refused: Refused) -> None:
    """The last one sent counts; the etag of the one before is no longer valid."""
    upload = Uploading(s3, bucket)
    upload.send(1, b"first")
    upload.send(1, b"second")
    with refused(400, "InvalidPart"):
        upload.complete([upload.parts[0]])
    upload.complete([upload.parts[1]])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"second"


def test_completing_twice_is_completing_once(s3: Any, bucket: str, refused: Refused) -> None:
    """A client whose answer was lost asks again and gets it; once the key was written anew, the upload is gone."""
    upload = Uploading(s3, bucket)
    upload.send(1, b"x")
    first = upload.complete()
    again = upload.complete()
    assert (again["ETag"], again["ChecksumCRC32"]) == (first["ETag"], first["ChecksumCRC32"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"newer")
    with refused(404, "NoSuchUpload"):
        upload.complete()
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"newer"


def test_completions_are_conditional(s3: Any, bucket: str, refused: Refused) -> None:
    """If-None-Match and If-Match hold at the moment the object appears."""
    upload = Uploading(s3, bucket)
    upload.send(1, b"x")
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"there")["ETag"]
    with refused(412, "PreconditionFailed"):
        upload.complete(IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        upload.complete(IfMatch='"other"')
    upload.complete(IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_numbers_and_ids_are_checked(s3: Any, bucket: str, refused: Refused) -> None:
    """Parts are 1 to 10,000 of an upload that exists, of this key."""
    upload = Uploading(s3, bucket)
    for number in (0, 10_001, -1):
        with refused(400, "InvalidArgument"):
            upload.send(number, b"x")
    for place in ({**upload.place, "UploadId": "none"}, {**upload.place, "Key": "other"}):
        with refused(404, "NoSuchUpload"):
            s3.upload_part(**place, PartNumber=1, Body=b"x")
        with refused(404, "NoSuchUpload"):
            s3.list_parts(**place)
        with refused(404, "NoSuchUpload"):
            s3.abort_multipart_upload(**place)
        with refused(404, "NoSuchUpload"):
            s3.complete_multipart_upload(
                **place, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": md5(b"").hex()}]}
            )


def test_abort_drops_everything(s3: Any, bucket: str, refused: Refused) -> None:
    """After an abort there is no upload, no part and no object, and the bucket can go."""
    upload = Uploading(s3, bucket)
    upload.send(1, b"x" * MIB)
    s3.abort_multipart_upload(**upload.place)
    with refused(404, "NoSuchUpload"):
        s3.list_parts(**upload.place)
    with refused(404, "NoSuchUpload"):
        upload.complete()
    with refused(404, "NoSuchUpload"):
        s3.abort_multipart_upload(**upload.place)
    with refused(404, "NoSuchUpload"):
        nonsense = {"Parts": [{"PartNumber": 1, "ETag": "no digest"}]}
        s3.complete_multipart_upload(**upload.place, MultipartUpload=nonsense)
    s3.delete_bucket(Bucket=bucket)


def test_listing_parts(s3: Any, bucket: str) -> None:
    """Parts by number, paged, with who began the upload and what it will be."""
    upload = Uploading(s3, bucket, StorageClass="COLD")
    for number in (7, 2, 5):
        upload.send(number, b"x" * number)
    page = s3.list_parts(**upload.place)
    assert [(part["PartNumber"], part["Size"]) for part in page["Parts"]] == [(2, 2), (5, 5), (7, 7)]
    assert (page["Initiator"]["ID"], page["Owner"]["DisplayName"], page["StorageClass"]) == ("main-id", "Main", "COLD")
    assert (page["IsTruncated"], page["MaxParts"]) == (False, 1000)
    page = s3.list_parts(**upload.place, MaxParts=2)
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 5)
    page = s3.list_parts(**upload.place, PartNumberMarker=5)
    assert [part["PartNumber"] for part in page["Parts"]] == [7]


def test_listing_uploads(s3: Any, bucket: str) -> None:
    """Uploads by key and start, paged, with prefixes and delimiters."""
    ids = [
        (key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ("a", "b/1", "b/1", "b/2", "c")
    ]
    page = s3.list_multipart_uploads(Bucket=bucket)
    assert sorted((upload["Key"], upload["UploadId"]) for upload in page["Uploads"]) == sorted(ids)
    assert page["Uploads"][0]["Initiator"] == {"ID": "main-id", "DisplayName": "Main"}
    found: list[tuple[str, str]] = []
    markers: dict[str, str] = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **markers)
        found += [(upload["Key"], upload["UploadId"]) for upload in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert sorted(found) == sorted(ids)
    assert [key for key, _ in found] == ["a", "b/1", "b/1", "b/2", "c"]
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [upload["Key"] for upload in page["Uploads"]] == ["a", "c"]
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["b/"]
    assert len(s3.list_multipart_uploads(Bucket=bucket, Prefix="b/")["Uploads"]) == 3


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "COMPOSITE"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    ],
)
def test_checksums_of_parts_make_the_objects(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    """Composite and full-object checksums are right, promised ones are held, wrong ones leave no object."""
    upload = Uploading(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert (upload.answer["ChecksumAlgorithm"], upload.answer["ChecksumType"]) == (algorithm, kind)
    bodies = [os.urandom(PART), b"tail"]
    for number, body in enumerate(bodies, 1):
        answer = upload.send(number, body, ChecksumAlgorithm=algorithm)
        assert answer[f"Checksum{algorithm}"] == digest(algorithm, body)
    listed = s3.list_parts(**upload.place)
    assert listed["Parts"][1][f"Checksum{algorithm}"] == digest(algorithm, b"tail")
    whole = digest(algorithm, b"".join(bodies))
    parts = b"".join(base64.b64decode(digest(algorithm, body)) for body in bodies)
    expected = whole if kind == "FULL_OBJECT" else f"{digest(algorithm, parts)}-2"
    promise: dict[str, Any] = {f"Checksum{algorithm}": expected}
    answer = upload.complete(**promise, ChecksumType=kind)
    assert (answer[f"Checksum{algorithm}"], answer["ChecksumType"]) == (expected, kind)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (expected, kind)
    tail = s3.head_object(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
    assert (tail[f"Checksum{algorithm}"], tail["ChecksumType"]) == (digest(algorithm, b"tail"), kind)


def test_wrong_checksums_of_completions(s3: Any, bucket: str, refused: Refused) -> None:
    """A wrong whole, a wrong part, another type: each has its code, and the upload goes on; parts need none."""
    upload = Uploading(s3, bucket, ChecksumAlgorithm="SHA256")
    upload.send(1, b"x", ChecksumAlgorithm="SHA256")
    wrong = digest("SHA256", b"y")
    with refused(400, "BadDigest"):
        upload.complete(ChecksumSHA256="bad")
    with refused(400, "BadDigest"):
        upload.complete(ChecksumSHA256=f"{wrong}-1")
    with refused(400, "InvalidPart"):
        upload.complete([{**upload.parts[0], "ChecksumSHA256": wrong}])
    with refused(400, "InvalidRequest"):
        upload.complete(ChecksumType="FULL_OBJECT")
    with refused(400, "InvalidRequest"):
        upload.complete(MpuObjectSize=2)
    whole = base64.b64encode(hashlib.sha256(hashlib.sha256(b"x").digest()).digest()).decode()
    assert upload.complete(plain(upload.parts), MpuObjectSize=1)["ChecksumSHA256"] == f"{whole}-1"


def test_algorithms_that_do_not_go_together(s3: Any, bucket: str, refused: Refused) -> None:
    """Hashes do not combine, CRC64NVME does nothing else, and parts keep to their upload's algorithm."""
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        with refused(400, "InvalidRequest"):
            Uploading(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    upload = Uploading(s3, bucket, ChecksumAlgorithm="SHA256")
    with refused(400, "InvalidRequest"):
        upload.send(1, b"x", ChecksumAlgorithm="CRC32")
    with refused(400, "BadDigest"):
        upload.send(1, b"x", ChecksumSHA256=digest("SHA256", b"y"))


def test_uploads_without_checksums_get_the_default(server: Any, bucket: str) -> None:
    """Nothing promised: the object has the CRC64NVME of its bytes, made from its parts."""
    client = server.client(request_checksum_calculation="when_required")
    upload = Uploading(client, bucket)
    bodies = [os.urandom(PART), os.urandom(99)]
    for number, body in enumerate(bodies, 1):
        upload.send(number, body)
    answer = upload.complete(plain(upload.parts))
    assert answer["ChecksumCRC64NVME"] == digest("CRC64NVME", b"".join(bodies))
    client.close()


def test_parts_can_be_copied(s3: Any, bucket: str, refused: Refused) -> None:
    """Whole objects and ranges of them become parts, with the etag of their bytes."""
    source = os.urandom(PART + 1000)
    s3.put_object(Bucket=bucket, Key="source ü", Body=source)
    upload = Uploading(s3, bucket)
    place = {**upload.place, "CopySource": {"Bucket": bucket, "Key": "source ü"}}
    first = s3.upload_part_copy(**place, PartNumber=1)["CopyPartResult"]
    second = s3.upload_part_copy(**place, PartNumber=2, CopySourceRange="bytes=100-299")["CopyPartResult"]
    assert second["ETag"] == f'"{md5(source[100:300]).hex()}"'
    for wrong in ("bytes=100-", "100-200", "bytes=a-b"):
        with refused(400, "InvalidArgument"):
            s3.upload_part_copy(**place, PartNumber=3, CopySourceRange=wrong)
    with refused(416, "InvalidRange"):
        s3.upload_part_copy(**place, PartNumber=3, CopySourceRange=f"bytes=0-{len(source)}")
    with refused(404, "NoSuchKey"):
        s3.upload_part_copy(**{**place, "CopySource": f"{bucket}/none"}, PartNumber=3)
    with refused(412, "PreconditionFailed"):
        s3.upload_part_copy(**place, PartNumber=3, CopySourceIfMatch='"other"')
    upload.complete([{"PartNumber": n, "ETag": part["ETag"]} for n, part in ((1, first), (2, second))])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == source + source[100:300]


def test_part_numbers_of_objects(s3: Any, bucket: str, refused: Refused) -> None:
    """An object that was put whole is its own part 1; other numbers are refused, and so is a range besides."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"body")
    assert s3.get_object(Bucket=bucket, Key="k", PartNumber=1)["Body"].read() == b"body"
    with refused(400, "InvalidPart"):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    with refused(400, "InvalidRequest"):
        s3.get_object(Bucket=bucket, Key="k", PartNumber=1, Range="bytes=0-1")


def test_attributes_of_objects_of_parts(s3: Any, bucket: str, refused: Refused) -> None:
    """GetObjectAttributes tells size, etag, checksum, class and a page of parts."""
    upload = Uploading(s3, bucket, ChecksumAlgorithm="SHA256")
    for number in (1, 2, 3):
        upload.send(number, bytes([number]) * PART, ChecksumAlgorithm="SHA256")
    done = upload.complete()
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    answer = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted)
    assert (answer["ObjectSize"], answer["StorageClass"]) == (3 * PART, "STANDARD")
    assert answer["ETag"] == done["ETag"].strip('"')
    assert answer["Checksum"] == {"ChecksumSHA256": done["ChecksumSHA256"], "ChecksumType": "COMPOSITE"}
    parts = answer["ObjectParts"]
    assert (parts["TotalPartsCount"], parts["IsTruncated"]) == (3, False)
    assert [(part["PartNumber"], part["Size"]) for part in parts["Parts"]] == [(1, PART), (2, PART), (3, PART)]
    assert parts["Parts"][1]["ChecksumSHA256"] == digest("SHA256", bytes([2]) * PART)
    page = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=1, PartNumberMarker=1
    )
    assert [part["PartNumber"] for part in page["ObjectParts"]["Parts"]] == [2]
    assert (page["ObjectParts"]["IsTruncated"], page["ObjectParts"]["NextPartNumberMarker"]) == (True, 2)
    assert "ETag" not in page
    with refused(400, "InvalidArgument"):
        s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Colour"])


def test_a_part_without_its_promise_is_not_kept(s3: Any, bucket: str, refused: Refused) -> None:
    """A part whose MD5 is not the promised one does not appear."""
    upload = Uploading(s3, bucket)
    with refused(400, "BadDigest"):
        upload.send(1, b"x", ContentMD5=base64.b64encode(md5(b"y")).decode())
    wrong = base64.b64encode(zlib.crc32(b"y").to_bytes(4, "big")).decode()
    with refused(400, "BadDigest"):
        upload.send(1, b"x", ChecksumCRC32=wrong)
    assert "Parts" not in s3.list_parts(**upload.place)
