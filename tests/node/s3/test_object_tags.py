"""Tags of objects by boto3: by header and by document, limits, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]


def tags(s3: Any, bucket: str, **parameters: str) -> dict[str, str]:
    """The tags of key `k`."""
    answer = s3.get_object_tagging(Bucket=bucket, Key="k", **parameters)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def put(s3: Any, bucket: str, wanted: dict[str, str], **parameters: str) -> dict[str, Any]:
    """Replace the tags of key `k`."""
    tag_set = [{"Key": key, "Value": value} for key, value in wanted.items()]
    answer: dict[str, Any] = s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tag_set}, **parameters)
    return answer


def test_tags_come_and_go(s3: Any, bucket: str) -> None:
    """Put with the object, replaced, counted, removed; the object's bytes and time stay."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=&c%20d=e%2Bf")
    before = s3.head_object(Bucket=bucket, Key="k")
    assert tags(s3, bucket) == {"a": "1", "b": "", "c d": "e+f"}
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 3
    put(s3, bucket, {"å": "ö"})
    assert tags(s3, bucket) == {"å": "ö"}
    after = s3.head_object(Bucket=bucket, Key="k")
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags(s3, bucket) == {}
    assert "TagCount" not in s3.get_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({f"k{n}": "v" for n in range(11)}, "InvalidTag"),
        ({"k" * 129: "v"}, "InvalidTag"),
        ({"k": "v" * 257}, "InvalidTag"),
        ({"k!": "v"}, "InvalidTag"),
    ],
)
def test_limits(s3: Any, bucket: str, refused: Refused, wanted: dict[str, str], code: str) -> None:
    """Ten tags, 128 characters of key, 256 of value, of the characters S3 allows; a refusal changes nothing."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")
    with refused(400, code):
        put(s3, bucket, wanted)
    assert tags(s3, bucket) == {"a": "1"}


def test_the_largest_set_is_taken(s3: Any, bucket: str) -> None:
    """Exactly at every limit."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    wanted = {f"{n}" + "k" * 127: "v" * 256 for n in range(10)}
    put(s3, bucket, wanted)
    assert tags(s3, bucket) == wanted


def test_headers_are_held_to_the_same(s3: Any, bucket: str, refused: Refused) -> None:
    """A put whose tags are too many or twice the same writes nothing."""
    for header in ("&".join(f"k{n}=v" for n in range(11)), "a=1&a=2", "=v"):
        with refused(400, "InvalidTag"):
            s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=header)
    with refused(404, "NoSuchKey"):
        s3.get_object_tagging(Bucket=bucket, Key="k")


def test_versions_have_their_own(s3: Any, bucket: str) -> None:
    """Tags belong to a version."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1")["VersionId"]
    new = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
    assert put(s3, bucket, {"b": "2"}, VersionId=old)["VersionId"] == old
    assert tags(s3, bucket, VersionId=old) == {"b": "2"}
    assert tags(s3, bucket) == tags(s3, bucket, VersionId=new) == {}
