"""Lifecycle configurations by boto3: kept as they were given, checked as S3 does, shown in x-amz-expiration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Refused = Callable[[int, str], Any]


def put(s3: Any, bucket: str, *rules: dict[str, Any]) -> None:
    """Replace the bucket's rules."""
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


RULES: tuple[dict[str, Any], ...] = (
    {"ID": "own prefix", "Prefix": "test1/", "Expiration": {"Days": 31}, "Status": "Enabled"},
    {"ID": "filter", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}, "Status": "Disabled"},
    {"ID": "empty prefix", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}, "Status": "Enabled"},
    {"ID": "tag", "Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": {"Days": 1}, "Status": "Enabled"},
    {"ID": "size", "Filter": {"ObjectSizeGreaterThan": 9}, "Expiration": {"Days": 1}, "Status": "Enabled"},
    {
        "ID": "and",
        "Filter": {
            "And": {
                "Prefix": "p",
                "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}],
                "ObjectSizeGreaterThan": 0,
                "ObjectSizeLessThan": 100,
            }
        },
        "Expiration": {"Date": datetime(2030, 1, 1, tzinfo=UTC)},
        "Status": "Enabled",
    },
    {"ID": "marker", "Prefix": "", "Expiration": {"ExpiredObjectDeleteMarker": True}, "Status": "Enabled"},
    {
        "ID": "noncurrent",
        "Prefix": "",
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
        "Status": "Enabled",
    },
    {
        "ID": "abort",
        "Prefix": "",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        "Status": "Enabled",
    },
)


def test_what_is_put_is_what_is_got(s3: Any, bucket: str, refused: Refused) -> None:
    """Every form of rule comes back as it was given; a rule without an id gets one; deleted means gone."""
    with refused(404, "NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    put(s3, bucket, *RULES)
    assert tuple(s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]) == RULES
    put(s3, bucket, {key: value for key, value in RULES[0].items() if key != "ID"})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["ID"]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    with refused(404, "NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)


@pytest.mark.parametrize(
    ("rule", "status", "code"),
    [
        ({"ID": "x" * 256, "Expiration": {"Days": 1}}, 400, "InvalidArgument"),
        ({"Expiration": {"Days": 0}}, 400, "InvalidArgument"),
        ({"Expiration": {"Days": -1}}, 400, "InvalidArgument"),
        ({"Expiration": {"Date": datetime(2030, 1, 1, 12, tzinfo=UTC)}}, 400, "InvalidArgument"),
        ({"Expiration": {"Days": 1}, "Status": "enabled"}, 400, "MalformedXML"),
        ({"Expiration": {"Days": 1, "ExpiredObjectDeleteMarker": True}}, 400, "MalformedXML"),
        ({}, 400, "InvalidRequest"),
        ({"Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}}, 400, "MalformedXML"),
        ({"Transitions": [{"Days": 1, "StorageClass": "COLD"}]}, 501, "NotImplemented"),
        (
            {"Transitions": [{"Date": datetime(2030, 1, 1, 12, tzinfo=UTC), "StorageClass": "COLD"}]},
            400,
            "InvalidArgument",
        ),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 0}}, 400, "InvalidArgument"),
        ({"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 0}}, 400, "InvalidArgument"),
    ],
)
def test_rules_that_make_no_sense_are_refused(
    s3: Any, bucket: str, refused: Refused, rule: dict[str, Any], status: int, code: str
) -> None:
    """With S3's codes; the rules in force stay."""
    put(s3, bucket, RULES[0])
    with refused(status, code):
        put(s3, bucket, {"Prefix": "", "Status": "Enabled", **rule})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [RULES[0]]


def test_ids_are_unique(s3: Any, bucket: str, refused: Refused) -> None:
    """Two rules of one id are refused."""
    with refused(400, "InvalidArgument"):
        put(s3, bucket, RULES[0], {**RULES[1], "ID": RULES[0]["ID"]})


def test_answers_tell_when_an_object_goes(s3: Any, bucket: str) -> None:
    """Put, head and get name the day and the rule; an object that no rule takes has no such header."""
    put(s3, bucket, {"ID": "by name", "Prefix": "a/", "Expiration": {"Days": 1}, "Status": "Enabled"})
    answers = [s3.put_object(Bucket=bucket, Key="a/k", Body=b"x")]
    answers += [s3.head_object(Bucket=bucket, Key="a/k"), s3.get_object(Bucket=bucket, Key="a/k")]
    for answer in answers:
        assert answer["Expiration"].endswith('00:00:00 GMT", rule-id="by%20name"')
    s3.put_object(Bucket=bucket, Key="b", Body=b"x")
    assert "Expiration" not in s3.head_object(Bucket=bucket, Key="b")
