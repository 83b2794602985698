"""Versioning: versions, null versions, delete markers, suspension and listings of them, by boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]


def versioning(s3: Any, bucket: str, status: str) -> None:
    """Switch a bucket's versioning."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status


def body(s3: Any, bucket: str, version: str | None = None) -> bytes:
    """The bytes of key `k`, newest or of a version."""
    parameters = {"VersionId": version} if version else {}
    content: bytes = s3.get_object(Bucket=bucket, Key="k", **parameters)["Body"].read()
    return content


def test_a_new_bucket_has_no_versions(s3: Any, bucket: str) -> None:
    """No status, no version ids."""
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert "VersionId" not in s3.head_object(Bucket=bucket, Key="k")
    assert "VersionId" not in s3.delete_object(Bucket=bucket, Key="k")


def test_every_put_adds_a_version(s3: Any, bucket: str, refused: Refused) -> None:
    """Old versions stay readable; removing the newest brings the one before back."""
    versioning(s3, bucket, "Enabled")
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=str(n).encode())["VersionId"] for n in range(4)]
    assert len(set(ids)) == 4
    assert [body(s3, bucket, version) for version in ids] == [b"0", b"1", b"2", b"3"]
    listing = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [(entry["VersionId"], entry["IsLatest"]) for entry in listing] == [
        (version, version == ids[-1]) for version in reversed(ids)
    ]
    answer = s3.delete_object(Bucket=bucket, Key="k", VersionId=ids[3])
    assert answer["VersionId"] == ids[3]
    assert "DeleteMarker" not in answer
    assert body(s3, bucket) == b"2"
    with refused(404, "NoSuchVersion"):
        body(s3, bucket, ids[3])
    assert s3.delete_object(Bucket=bucket, Key="k", VersionId=ids[3])["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_a_delete_adds_a_marker(s3: Any, bucket: str, refused: Refused) -> None:
    """The key is gone for readers and there for those who know the version; removing the marker undeletes."""
    versioning(s3, bucket, "Enabled")
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    with refused(404, "NoSuchKey"):
        body(s3, bucket)
    with refused(405, "MethodNotAllowed"):
        body(s3, bucket, marker["VersionId"])
    assert body(s3, bucket, version) == b"x"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    listing = s3.list_object_versions(Bucket=bucket)
    assert [entry["VersionId"] for entry in listing["DeleteMarkers"]] == [marker["VersionId"]]
    assert listing["DeleteMarkers"][0]["IsLatest"] is True
    assert [entry["IsLatest"] for entry in listing["Versions"]] == [False]
    with refused(409, "BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    undone = s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert (undone["DeleteMarker"], undone["VersionId"]) == (True, marker["VersionId"])
    assert body(s3, bucket) == b"x"


def test_null_versions(s3: Any, bucket: str) -> None:
    """What was there before versioning is the null version; a suspended bucket writes it over and over."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    versioning(s3, bucket, "Enabled")
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"during")["VersionId"]
    assert body(s3, bucket, "null") == b"before"
    versioning(s3, bucket, "Suspended")
    for content in (b"after", b"again"):
        assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k", Body=content)
    assert (body(s3, bucket), body(s3, bucket, "null"), body(s3, bucket, version)) == (b"again", b"again", b"during")
    listing = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [(entry["VersionId"], entry["IsLatest"]) for entry in listing] == [("null", True), (version, False)]
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert (marker["DeleteMarker"], marker["VersionId"]) == (True, "null")
    listing = s3.list_object_versions(Bucket=bucket)
    assert [entry["VersionId"] for entry in listing["DeleteMarkers"]] == ["null"]
    assert [entry["VersionId"] for entry in listing["Versions"]] == [version]


def test_ids_that_cannot_be_are_refused(s3: Any, bucket: str, refused: Refused) -> None:
    """A version id of the wrong shape is InvalidArgument, one that is not there NoSuchVersion."""
    versioning(s3, bucket, "Enabled")
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    for wrong in ("nonsense", version.upper(), version + "0"):
        with refused(400, "InvalidArgument"):
            body(s3, bucket, wrong)
    with refused(404, "NoSuchVersion"):
        body(s3, bucket, "0" * len(version))
    with refused(404, "NoSuchVersion"):
        body(s3, bucket, "null")


def test_deletes_of_versions_are_conditional(s3: Any, bucket: str, refused: Refused) -> None:
    """A condition on the delete of a version is held against that version; on the key, against its newest."""
    versioning(s3, bucket, "Enabled")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    with refused(412, "PreconditionFailed"):
        s3.delete_object(Bucket=bucket, Key="k", VersionId=first["VersionId"], IfMatch=second["ETag"])
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first["VersionId"], IfMatch=first["ETag"])
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first["VersionId"], IfMatch=first["ETag"])
    with refused(412, "PreconditionFailed"):
        s3.delete_object(Bucket=bucket, Key="k", IfMatch=first["ETag"])
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=second["ETag"])
    with refused(412, "PreconditionFailed"):
        s3.delete_object(Bucket=bucket, Key="k", IfMatch=second["ETag"])
    s3.delete_object(Bucket=bucket, Key="k", IfMatch="*")


def test_writes_hold_their_condition_against_the_newest(s3: Any, bucket: str, refused: Refused) -> None:
    """Behind a delete marker there is nothing; an older version's etag does not match."""
    versioning(s3, bucket, "Enabled")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    with refused(412, "PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first["ETag"])
    s3.delete_object(Bucket=bucket, Key="k")
    with refused(404, "NoSuchKey"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch="*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfNoneMatch="*")


def test_version_listings_are_paged(s3: Any, bucket: str, refused: Refused) -> None:
    """Any page size gives every version once, in order, also within a key and with a delimiter."""
    versioning(s3, bucket, "Enabled")
    for key in ("a", "a/1", "a/2", "b"):
        for _ in range(3):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        s3.delete_object(Bucket=bucket, Key=key)

    def whole(limit: int, **more: str) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = []
        markers: dict[str, str] = {}
        while True:
            page = s3.list_object_versions(Bucket=bucket, MaxKeys=limit, **markers, **more)
            entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
            found += sorted(
                ((entry["Key"], entry["VersionId"]) for entry in entries), key=lambda entry: (entry[0], entry[1])
            )
            found += [(entry["Prefix"],) for entry in page.get("CommonPrefixes", [])]
            if not page["IsTruncated"]:
                return found
            markers = {"KeyMarker": page["NextKeyMarker"]}
            if "NextVersionIdMarker" in page:
                markers["VersionIdMarker"] = page["NextVersionIdMarker"]

    everything = whole(1000)
    assert len(everything) == 16
    for limit in (1, 2, 3, 5, 7):
        assert sorted(whole(limit)) == sorted(everything)
        assert sorted(whole(limit, Delimiter="/", Prefix="a")) == sorted(whole(1000, Delimiter="/", Prefix="a"))
    assert ("a/",) in whole(1000, Delimiter="/")
    with refused(400, "InvalidArgument"):
        s3.list_object_versions(Bucket=bucket, VersionIdMarker=everything[0][1])


def test_versioning_takes_two_states(s3: Any, bucket: str, refused: Refused) -> None:
    """Anything else is malformed, and MFA delete is not built."""
    with refused(400, "MalformedXML"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Off"})
    with refused(501, "NotImplemented"):
        s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}, MFA="serial 123456"
        )
