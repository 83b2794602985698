"""Buckets by boto3: names, creation, listing, location, deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from moln_node.s3.errors import S3Error
from moln_node.s3.names import check_bucket_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]


@pytest.mark.parametrize("name", ["abc", "a-b.c", "1st", "a" * 63, "1.2.3", "a.b-c.d"])
def test_names_that_are_allowed(name: str) -> None:
    """S3's rules let these be."""
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    ["ab", "a" * 64, "Abc", "a_b", "-abc", "abc-", ".abc", "abc.", "a..b", "a.-b", "a-.b", "1.2.3.4", "xn--abc",
     "abc-s3alias", "abc--ol-s3", "sthree-abc", "a b", "ä--b", ""],
)  # fmt: skip
def test_names_that_are_not(name: str) -> None:
    """Length, characters, ends, addresses, reserved words."""
    with pytest.raises(S3Error) as caught:
        check_bucket_name(name)
    assert caught.value.code == "InvalidBucketName"


def test_create_head_list_delete(s3: Any) -> None:
    """A bucket's life."""
    s3.create_bucket(Bucket="a-life")
    head = s3.head_bucket(Bucket="a-life")
    assert head["BucketRegion"] == "us-east-1"
    answer = s3.list_buckets()
    assert answer["Owner"] == {"ID": "main-id", "DisplayName": "Main"}
    entry = next(entry for entry in answer["Buckets"] if entry["Name"] == "a-life")
    assert entry["BucketRegion"] == "us-east-1"
    s3.delete_bucket(Bucket="a-life")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="a-life")
    assert "a-life" not in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]


def test_a_name_is_taken_once(s3: Any, alt: Any, bucket: str, refused: Refused) -> None:
    """Its owner may ask for the same bucket again, for no other of that name; the bucket stays as it was."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.create_bucket(Bucket=bucket)
    with refused(409, "BucketAlreadyExists"):
        alt.create_bucket(Bucket=bucket)
    with refused(409, "BucketAlreadyExists"):
        s3.create_bucket(Bucket=bucket, ACL="public-read")
    with refused(409, "BucketAlreadyExists"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "elsewhere"})
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    with refused(409, "BucketAlreadyExists"):
        s3.create_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket, ACL="public-read")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_everybody_lists_their_own(server: Any, s3: Any, alt: Any, bucket: str) -> None:
    """Another owner does not see it, an admin does."""
    admin = server.client("ADMINKEY", "admin-secret-key")
    assert bucket in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert bucket not in [entry["Name"] for entry in alt.list_buckets()["Buckets"]]
    assert bucket in [entry["Name"] for entry in admin.list_buckets()["Buckets"]]
    admin.close()


def test_bucket_lists_are_paged(s3: Any, refused: Refused) -> None:
    """By prefix, by page, by token."""
    names = [f"paged-{n}" for n in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    found = []
    parameters = {"Prefix": "paged-", "MaxBuckets": 2}
    while True:
        page = s3.list_buckets(**parameters)
        assert page["Prefix"] == "paged-"
        found += [entry["Name"] for entry in page["Buckets"]]
        if "ContinuationToken" not in page:
            break
        parameters["ContinuationToken"] = page["ContinuationToken"]
    assert found == names
    with refused(400, "InvalidArgument"):
        s3.list_buckets(ContinuationToken="nonsense")


def test_location_and_tags(s3: Any, bucket: str, refused: Refused) -> None:
    """us-east-1 shows as nothing, another name of a place as it was given; tags may come with the bucket."""
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.create_bucket(
        Bucket="elsewhere",
        CreateBucketConfiguration={"LocationConstraint": "eu-north-1", "Tags": [{"Key": "a", "Value": "1"}]},
    )
    assert s3.get_bucket_location(Bucket="elsewhere")["LocationConstraint"] == "eu-north-1"
    assert s3.head_bucket(Bucket="elsewhere")["BucketRegion"] == "eu-north-1"
    assert s3.get_bucket_tagging(Bucket="elsewhere")["TagSet"] == [{"Key": "a", "Value": "1"}]
    with refused(400, "InvalidLocationConstraint"):
        s3.create_bucket(Bucket="nowhere", CreateBucketConfiguration={"LocationConstraint": "not a place"})


def test_invalid_names_are_refused(s3: Any, refused: Refused) -> None:
    """The wire says so too."""
    with refused(400, "InvalidBucketName"):
        s3.create_bucket(Bucket="under_score")


def test_only_empty_buckets_go(s3: Any, bucket: str, refused: Refused) -> None:
    """An object keeps its bucket; uploads under way do not."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.create_multipart_upload(Bucket=bucket, Key="k")
    with refused(409, "BucketNotEmpty"):
        s3.delete_bucket(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    with refused(404, "NoSuchBucket"):
        s3.delete_bucket(Bucket=bucket)
