"""CopyObject by boto3: metadata, tags, conditions, versions, and what is refused."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_a_copy_is_the_same_object(s3: Any, bucket: str, new_bucket: Callable[[], str], size: int) -> None:
    """Bytes, headers, metadata and tags go along, also into another bucket."""
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="a", Body=body, ContentType="x/y", Metadata={"m": "1"}, Tagging="t=1")
    for target in (bucket, new_bucket()):
        result = s3.copy_object(Bucket=target, Key="b", CopySource={"Bucket": bucket, "Key": "a"})["CopyObjectResult"]
        got = s3.get_object(Bucket=target, Key="b")
        assert got["Body"].read() == body
        assert (got["ContentType"], got["Metadata"], got["ETag"]) == ("x/y", {"m": "1"}, result["ETag"])
        assert result["LastModified"] == got["LastModified"]
        assert s3.get_object_tagging(Bucket=target, Key="b")["TagSet"] == [{"Key": "t", "Value": "1"}]


def test_directives_replace(s3: Any, bucket: str, refused: Refused) -> None:
    """REPLACE takes the request's headers or tags and none of the source's; what is no directive is refused."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", ContentType="x/y", Metadata={"m": "1"}, Tagging="t=1")
    source = {"Bucket": bucket, "Key": "a"}
    s3.copy_object(Bucket=bucket, Key="b", CopySource=source, Metadata={"n": "2"}, MetadataDirective="REPLACE")
    head = s3.head_object(Bucket=bucket, Key="b")
    assert (head["Metadata"], head["ContentType"]) == ({"n": "2"}, "binary/octet-stream")
    assert s3.get_object_tagging(Bucket=bucket, Key="b")["TagSet"] == [{"Key": "t", "Value": "1"}]
    s3.copy_object(Bucket=bucket, Key="c", CopySource=source, Tagging="u=2", TaggingDirective="REPLACE")
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == [{"Key": "u", "Value": "2"}]
    assert s3.head_object(Bucket=bucket, Key="c")["Metadata"] == {"m": "1"}
    s3.copy_object(Bucket=bucket, Key="d", CopySource=source, Metadata={"n": "2"}, Tagging="u=2")
    assert s3.head_object(Bucket=bucket, Key="d")["Metadata"] == {"m": "1"}
    with refused(400, "InvalidArgument"):
        s3.copy_object(Bucket=bucket, Key="e", CopySource=source, MetadataDirective="MOVE")


def test_a_copy_onto_itself_must_change_something(s3: Any, bucket: str, refused: Refused) -> None:
    """New metadata or another class is a change; nothing at all is refused."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x", Metadata={"m": "1"})
    source = {"Bucket": bucket, "Key": "a"}
    with refused(400, "InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="a", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="a", CopySource=source, Metadata={"m": "2"}, MetadataDirective="REPLACE")
    assert s3.head_object(Bucket=bucket, Key="a")["Metadata"] == {"m": "2"}
    s3.copy_object(Bucket=bucket, Key="a", CopySource=source, StorageClass="COLD")
    got = s3.get_object(Bucket=bucket, Key="a")
    assert (got["StorageClass"], got["Body"].read()) == ("COLD", b"x")


def test_copies_are_conditional(s3: Any, bucket: str, refused: Refused) -> None:
    """Conditions on the source and on the target both hold."""
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    place = {"Bucket": bucket, "Key": "b", "CopySource": {"Bucket": bucket, "Key": "a"}}
    with refused(412, "PreconditionFailed"):
        s3.copy_object(**place, CopySourceIfMatch='"other"')
    with refused(412, "PreconditionFailed"):
        s3.copy_object(**place, CopySourceIfNoneMatch=etag)
    s3.copy_object(**place, CopySourceIfMatch=etag, IfNoneMatch="*")
    with refused(412, "PreconditionFailed"):
        s3.copy_object(**place, IfNoneMatch="*")
    s3.copy_object(**place, CopySourceIfNoneMatch='"other"', IfMatch=etag)


def test_missing_sources_are_named(s3: Any, bucket: str, refused: Refused) -> None:
    """The code speaks of the source; a source without a key is refused."""
    for source, code in ((f"{bucket}/none", "NoSuchKey"), ("no-such-bucket/a", "NoSuchBucket")):
        with refused(404, code):
            s3.copy_object(Bucket=bucket, Key="b", CopySource=source)
    with refused(400, "InvalidArgument"):
        s3.copy_object(Bucket=bucket, Key="b", CopySource=bucket)


def test_the_sources_owner_can_be_named(s3: Any, bucket: str, refused: Refused) -> None:
    """A copy from a bucket of somebody else than the client expects is refused."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    place = {"Bucket": bucket, "Key": "b", "CopySource": {"Bucket": bucket, "Key": "a"}}
    s3.copy_object(**place, ExpectedSourceBucketOwner="main-id")
    with refused(403, "AccessDenied"):
        s3.copy_object(**place, ExpectedSourceBucketOwner="alt-id")


def test_a_source_of_another_owner_is_refused(s3: Any, alt: Any, bucket: str, refused: Refused) -> None:
    """Who may not read the source may not copy it."""
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    alt.create_bucket(Bucket=f"alt-{bucket}")
    with refused(403, "AccessDenied"):
        alt.copy_object(Bucket=f"alt-{bucket}", Key="b", CopySource={"Bucket": bucket, "Key": "a"})


@pytest.mark.parametrize(
    "key", [" spaced", "per%cent", "plus+", "q?versionId=x", "ü/é", "a//b", "?versionId=null", "&"]
)
def test_odd_source_keys(s3: Any, bucket: str, key: str) -> None:
    """The source's key is decoded once, and its question marks are its own."""
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": key})
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == key.encode()


def test_versions_can_be_copied(s3: Any, bucket: str, refused: Refused) -> None:
    """A named version is the source, the answer tells both ids, and a delete marker is no source."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="a", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="a", Body=b"new")
    answer = s3.copy_object(Bucket=bucket, Key="a", CopySource={"Bucket": bucket, "Key": "a", "VersionId": old})
    assert answer["CopySourceVersionId"] == old
    assert answer["VersionId"] not in {old, None}
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"old"
    marker = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    with refused(404, "NoSuchKey"):
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    with refused(400, "InvalidRequest"):
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a", "VersionId": marker})


def test_a_copy_of_parts_has_the_etag_of_its_bytes(s3: Any, bucket: str) -> None:
    """An object of parts becomes one that was written whole, and keeps the checksum's algorithm."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a", ChecksumAlgorithm="SHA1")["UploadId"]
    place = {"Bucket": bucket, "Key": "a", "UploadId": upload}
    part = s3.upload_part(**place, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA1")
    named = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA1": part["ChecksumSHA1"]}
    s3.complete_multipart_upload(**place, MultipartUpload={"Parts": [named]})
    result = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")["CopyObjectResult"]
    assert result["ETag"] == f'"{hashlib.md5(b"x", usedforsecurity=False).hexdigest()}"'
    assert (result["ChecksumSHA1"], result["ChecksumType"]) == (part["ChecksumSHA1"], "FULL_OBJECT")
    result = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a", ChecksumAlgorithm="CRC32")
    assert "ChecksumCRC32" in result["CopyObjectResult"]
