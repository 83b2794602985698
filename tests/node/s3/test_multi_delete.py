"""DeleteObjects by boto3: outcomes per key, versions, conditions, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]


def delete(s3: Any, bucket: str, *entries: dict[str, Any], quiet: bool = False) -> dict[str, Any]:
    """Delete these entries."""
    answer: dict[str, Any] = s3.delete_objects(Bucket=bucket, Delete={"Objects": list(entries), "Quiet": quiet})
    return answer


def test_many_at_once(s3: Any, bucket: str) -> None:
    """Every key is deleted and named, also those that were not there; quiet answers name nothing."""
    keys = [f"k{n}" for n in range(150)] + ["ü/&<>", "a b"]
    for key in keys[:100] + keys[150:]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = delete(s3, bucket, *({"Key": key} for key in keys))
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == sorted(keys)
    assert "Errors" not in answer
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert "Deleted" not in delete(s3, bucket, {"Key": "k"}, quiet=True)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_limits(s3: Any, bucket: str, refused: Refused) -> None:
    """A thousand is the most, none is malformed."""
    delete(s3, bucket, *({"Key": f"k{n}"} for n in range(1000)))
    with refused(400, "MalformedXML"):
        delete(s3, bucket, *({"Key": f"k{n}"} for n in range(1001)))
    with refused(400, "MalformedXML"):
        delete(s3, bucket)


def test_versions_and_markers(s3: Any, bucket: str) -> None:
    """Without an id a marker is made, with one that version goes; the answer tells which."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    made = delete(s3, bucket, {"Key": "k"})["Deleted"][0]
    assert made["DeleteMarker"] is True
    marker = made["DeleteMarkerVersionId"]
    assert "VersionId" not in made
    gone = delete(s3, bucket, {"Key": "k", "VersionId": version}, {"Key": "k", "VersionId": marker})["Deleted"]
    assert {entry["VersionId"]: entry.get("DeleteMarkerVersionId") for entry in gone} == {
        version: None,
        marker: marker,
    }
    listing = s3.list_object_versions(Bucket=bucket)
    assert "Versions" not in listing
    assert "DeleteMarkers" not in listing


def test_conditions_are_each_keys_own(s3: Any, bucket: str) -> None:
    """A key whose condition fails is named with its code, and the others go."""
    etag = s3.put_object(Bucket=bucket, Key="kept", Body=b"12")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="kept")["LastModified"]
    for wrong in ({"ETag": '"other"'}, {"Size": 3}, {"LastModifiedTime": modified.replace(year=2015)}):
        s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
        answer = delete(s3, bucket, {"Key": "kept", **wrong}, {"Key": "gone"})
        assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [("kept", "PreconditionFailed")]
        assert [entry["Key"] for entry in answer["Deleted"]] == ["gone"]
    assert "Errors" not in delete(
        s3, bucket, {"Key": "kept", "ETag": etag, "Size": 2, "LastModifiedTime": modified}, {"Key": "none", "ETag": "x"}
    )


def test_each_key_is_authorised(server: Any, s3: Any, alt: Any, bucket: str) -> None:
    """Whoever may not delete gets an error for every key, and nothing is deleted."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    reader = server.client("READKEY", "read-secret-key")
    for client in (alt, reader):
        answer = delete(client, bucket, {"Key": "k"}, {"Key": "other"})
        assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied", "AccessDenied"]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    reader.close()


def test_ids_that_cannot_be(s3: Any, bucket: str) -> None:
    """A version id of the wrong shape is that key's error."""
    answer = delete(s3, bucket, {"Key": "k", "VersionId": "nonsense"}, {"Key": "other"})
    assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [("k", "InvalidArgument")]
    assert [entry["Key"] for entry in answer["Deleted"]] == ["other"]


def test_no_such_bucket(s3: Any, refused: Refused) -> None:
    """The bucket must be there."""
    with refused(404, "NoSuchBucket"):
        delete(s3, "no-such-bucket", {"Key": "k"})
