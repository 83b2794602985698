"""Object lock, by real clients: what is locked stays, whoever asks and however, and what is free goes."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.node.s3.test_post_object import form, post

from moln_node.cluster import expiry, locking
from moln_node.store.errors import ObjectLockedError
from moln_node.store.model import Lock, Retention

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable

    from tests.node.s3.conftest import Server

NOW: Final = 1_000
LATER: Final = 2_000
FREE: Final = Retention()


def ahead(**length: float) -> datetime:
    """A time to come, in whole seconds as S3 shows it."""
    return (datetime.now(UTC) + timedelta(**length)).replace(microsecond=0)


@pytest.fixture
def locked(new_bucket: Callable[[], str], s3: Any) -> str:
    """A bucket with object lock."""
    name = f"{new_bucket()}-locked"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@pytest.mark.parametrize(
    ("mode", "until", "hold", "bypass", "removable"),
    [
        ("", 0, "", False, True),
        ("", 0, "OFF", False, True),
        ("", 0, "ON", True, False),
        ("GOVERNANCE", LATER, "", False, False),
        ("GOVERNANCE", LATER, "", True, True),
        ("GOVERNANCE", LATER, "ON", True, False),
        ("GOVERNANCE", NOW, "", False, True),
        ("COMPLIANCE", LATER, "", True, False),
        ("COMPLIANCE", NOW, "", False, True),
        ("COMPLIANCE", NOW, "ON", False, False),
    ],
)
def test_what_may_be_removed(mode: str, until: int, hold: str, bypass: bool, removable: bool) -> None:
    """A table of every lock."""
    lock = Lock(Retention(mode, until), hold)
    if removable:
        locking.require_removable(lock, NOW, bypass=bypass)
    else:
        with pytest.raises(ObjectLockedError):
            locking.require_removable(lock, NOW, bypass=bypass)


@pytest.mark.parametrize(
    ("before", "wanted", "bypass", "allowed"),
    [
        (FREE, Retention("COMPLIANCE", LATER), False, True),
        (FREE, FREE, False, True),
        (Retention("COMPLIANCE", NOW), FREE, False, True),
        (Retention("COMPLIANCE", LATER), Retention("COMPLIANCE", LATER + 1), False, True),
        (Retention("COMPLIANCE", LATER), Retention("COMPLIANCE", LATER - 1), True, False),
        (Retention("COMPLIANCE", LATER), Retention("GOVERNANCE", LATER + 1), True, False),
        (Retention("COMPLIANCE", LATER), FREE, True, False),
        (Retention("GOVERNANCE", LATER), Retention("GOVERNANCE", LATER + 1), False, True),
        (Retention("GOVERNANCE", LATER), Retention("GOVERNANCE", LATER - 1), False, False),
        (Retention("GOVERNANCE", LATER), Retention("GOVERNANCE", LATER - 1), True, True),
        (Retention("GOVERNANCE", LATER), Retention("COMPLIANCE", LATER + 1), False, False),
        (Retention("GOVERNANCE", LATER), Retention("COMPLIANCE", LATER + 1), True, True),
        (Retention("GOVERNANCE", LATER), FREE, False, False),
        (Retention("GOVERNANCE", LATER), FREE, True, True),
    ],
)
def test_how_a_retention_may_change(before: Retention, wanted: Retention, bypass: bool, allowed: bool) -> None:
    """A table of every change."""
    if allowed:
        locking.require_retainable(Lock(before), wanted, NOW, bypass=bypass)
    else:
        with pytest.raises(ObjectLockedError):
            locking.require_retainable(Lock(before), wanted, NOW, bypass=bypass)


def test_a_bucket_with_object_lock_keeps_versions(
    s3: Any, locked: str, bucket: str, refused: Callable[[int, str], Any]
) -> None:
    """From the start, and for good; one that is there gets object lock once it keeps them."""
    assert s3.get_bucket_versioning(Bucket=locked)["Status"] == "Enabled"
    assert s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled"
    }
    with refused(409, "InvalidBucketState"):
        s3.put_bucket_versioning(Bucket=locked, VersioningConfiguration={"Status": "Suspended"})
    with refused(404, "ObjectLockConfigurationNotFoundError"):
        s3.get_object_lock_configuration(Bucket=bucket)
    with refused(409, "InvalidBucketState"):
        s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    with refused(409, "InvalidBucketState"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ObjectLockEnabled": "Disabled"}, "MalformedXML"),
        ({"DefaultRetention": {"Mode": "governance", "Days": 1}}, "MalformedXML"),
        ({"DefaultRetention": {"Mode": "GOVERNANCE"}}, "MalformedXML"),
        ({"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1, "Years": 1}}, "MalformedXML"),
        ({"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 0}}, "InvalidRetentionPeriod"),
        ({"DefaultRetention": {"Mode": "GOVERNANCE", "Years": -1}}, "InvalidRetentionPeriod"),
        ({"DefaultRetention": {"Mode": "GOVERNANCE", "Years": 101}}, "InvalidRetentionPeriod"),
    ],
)
def test_a_default_that_makes_no_sense_is_refused(
    s3: Any, locked: str, refused: Callable[[int, str], Any], change: dict[str, Any], code: str
) -> None:
    """And what was there stays."""
    configuration = {"ObjectLockEnabled": "Enabled", **({} if "ObjectLockEnabled" in change else {"Rule": change})}
    configuration |= change if "ObjectLockEnabled" in change else {}
    with refused(400, code):
        s3.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=configuration)
    assert s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == {
        "ObjectLockEnabled": "Enabled"
    }


def set_default(s3: Any, bucket: str, **retention: Any) -> None:
    """Give a bucket a default retention."""
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
    assert s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == configuration


def test_the_default_is_for_whatever_asks_for_nothing(
    s3: Any, locked: str, bucket: str, raw: http.client.HTTPConnection
) -> None:
    """Puts, copies, uploads in parts (from their completion on) and forms; not for what asks for its own."""
    s3.put_object(Bucket=locked, Key="before", Body=b"x")
    set_default(s3, locked, Mode="GOVERNANCE", Days=2)
    s3.put_object(Bucket=bucket, Key="source", Body=b"x")
    s3.put_object(Bucket=locked, Key="put", Body=b"x")
    s3.copy_object(Bucket=locked, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
    upload = s3.create_multipart_upload(Bucket=locked, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=locked, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=locked, Key="parts", UploadId=upload, MultipartUpload=parts)
    assert post(raw, locked, form(s3.generate_presigned_post(locked, "form")["fields"], b"x"))[0] == 204
    for key in ("put", "copy", "parts", "form"):
        head = s3.head_object(Bucket=locked, Key=key)
        assert head["ObjectLockMode"] == "GOVERNANCE"
        assert abs(head["ObjectLockRetainUntilDate"] - ahead(days=2)) < timedelta(minutes=1)
    assert "ObjectLockMode" not in s3.head_object(Bucket=locked, Key="before")
    s3.put_object(
        Bucket=locked, Key="own", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=ahead(seconds=3)
    )
    assert s3.head_object(Bucket=locked, Key="own")["ObjectLockMode"] == "COMPLIANCE"
    set_default(s3, locked, Mode="COMPLIANCE", Years=1)
    s3.put_object(
        Bucket=locked, Key="year", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=ahead(days=1)
    )
    assert s3.head_object(Bucket=locked, Key="year")["ObjectLockMode"] == "GOVERNANCE"


def test_what_an_upload_asked_for_holds_for_its_object(
    s3: Any, locked: str, refused: Callable[[int, str], Any]
) -> None:
    """Mode, end and hold of CreateMultipartUpload; the object cannot be removed."""
    until = ahead(days=1)
    upload = s3.create_multipart_upload(
        Bucket=locked,
        Key="k",
        ObjectLockMode="GOVERNANCE",
        ObjectLockRetainUntilDate=until,
        ObjectLockLegalHoldStatus="ON",
    )["UploadId"]
    part = s3.upload_part(Bucket=locked, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    done = s3.complete_multipart_upload(Bucket=locked, Key="k", UploadId=upload, MultipartUpload=parts)
    got = s3.get_object(Bucket=locked, Key="k")
    assert got["Body"].read() == b"x"
    told = (got["ObjectLockMode"], got["ObjectLockRetainUntilDate"], got["ObjectLockLegalHoldStatus"])
    assert told == ("GOVERNANCE", until, "ON")
    with refused(403, "AccessDenied"):
        s3.delete_object(Bucket=locked, Key="k", VersionId=done["VersionId"], BypassGovernanceRetention=True)


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_retained_version_stays(s3: Any, locked: str, refused: Callable[[int, str], Any], mode: str) -> None:
    """Deleted by id it is refused, alone and among many; a delete marker hides it, an overwrite leaves it."""
    until = ahead(days=1)
    put = s3.put_object(Bucket=locked, Key="k", Body=b"kept", ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
    free = s3.put_object(Bucket=locked, Key="free", Body=b"x")
    named = {"Bucket": locked, "Key": "k", "VersionId": put["VersionId"]}
    with refused(403, "AccessDenied"):
        s3.delete_object(**named)
    objects = [{"Key": "k", "VersionId": put["VersionId"]}, {"Key": "free", "VersionId": free["VersionId"]}]
    answer = s3.delete_objects(Bucket=locked, Delete={"Objects": objects})
    assert [(entry["Key"], entry["Code"]) for entry in answer["Errors"]] == [("k", "AccessDenied")]
    assert [entry["Key"] for entry in answer["Deleted"]] == ["free"]
    s3.put_object(Bucket=locked, Key="k", Body=b"newer")
    s3.delete_object(Bucket=locked, Key="k")
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=locked, Key="k")
    assert s3.get_object(**named)["Body"].read() == b"kept"
    assert s3.get_object_retention(**named)["Retention"] == {"Mode": mode, "RetainUntilDate": until}
    shorter = {"Mode": mode, "RetainUntilDate": ahead(hours=1)}
    longer = {"Mode": mode, "RetainUntilDate": ahead(days=2)}
    with refused(403, "AccessDenied"):
        s3.put_object_retention(**named, Retention=shorter)
    s3.put_object_retention(**named, Retention=longer)
    if mode == "GOVERNANCE":
        s3.put_object_retention(**named, Retention=shorter, BypassGovernanceRetention=True)
        s3.delete_object(**named, BypassGovernanceRetention=True)
        with refused(404, "NoSuchVersion"):
            s3.get_object(**named)
    else:
        with refused(403, "AccessDenied"):
            s3.put_object_retention(**named, Retention=shorter, BypassGovernanceRetention=True)
        with refused(403, "AccessDenied"):
            s3.delete_object(**named, BypassGovernanceRetention=True)


def test_a_retention_ends_by_itself(s3: Any, locked: str, refused: Callable[[int, str], Any]) -> None:
    """When its time has come the version is as free as any."""
    until = ahead(seconds=2)
    put = s3.put_object(Bucket=locked, Key="k", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
    with refused(403, "AccessDenied"):
        s3.delete_object(Bucket=locked, Key="k", VersionId=put["VersionId"])
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 0.1)
    s3.delete_object(Bucket=locked, Key="k", VersionId=put["VersionId"])


def test_a_legal_hold_stays_until_it_is_lifted(s3: Any, locked: str, refused: Callable[[int, str], Any]) -> None:
    """Whatever the retention; and its state is shown."""
    put = s3.put_object(Bucket=locked, Key="k", Body=b"x")
    named = {"Bucket": locked, "Key": "k", "VersionId": put["VersionId"]}
    with refused(404, "NoSuchObjectLockConfiguration"):
        s3.get_object_legal_hold(**named)
    with refused(404, "NoSuchObjectLockConfiguration"):
        s3.get_object_retention(**named)
    with refused(400, "MalformedXML"):
        s3.put_object_legal_hold(**named, LegalHold={"Status": "abc"})
    s3.put_object_legal_hold(**named, LegalHold={"Status": "ON"})
    assert s3.get_object_legal_hold(**named)["LegalHold"] == {"Status": "ON"}
    s3.put_object_tagging(**named, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})  # changes nothing of the lock
    with refused(403, "AccessDenied"):
        s3.delete_object(**named, BypassGovernanceRetention=True)
    s3.put_object_legal_hold(**named, LegalHold={"Status": "OFF"})
    assert s3.head_object(**named)["ObjectLockLegalHoldStatus"] == "OFF"
    s3.delete_object(**named)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"ObjectLockMode": "GOVERNANCE"}, "InvalidArgument"),
        ({"ObjectLockRetainUntilDate": datetime(2099, 1, 1, tzinfo=UTC)}, "InvalidArgument"),
        ({"ObjectLockMode": "abc", "ObjectLockRetainUntilDate": datetime(2099, 1, 1, tzinfo=UTC)}, "InvalidArgument"),
        (
            {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": datetime(2001, 1, 1, tzinfo=UTC)},
            "InvalidArgument",
        ),
        ({"ObjectLockLegalHoldStatus": "abc"}, "InvalidArgument"),
    ],
)
def test_a_lock_that_makes_no_sense_writes_nothing(
    s3: Any, locked: str, refused: Callable[[int, str], Any], asked: dict[str, Any], code: str
) -> None:
    """Half of it, an unknown mode, a time that has passed."""
    with refused(400, code):
        s3.put_object(Bucket=locked, Key="k", Body=b"x", **asked)
    with refused(404, "NoSuchKey"):
        s3.get_object(Bucket=locked, Key="k")


def test_a_bucket_without_object_lock_locks_nothing(s3: Any, bucket: str, refused: Callable[[int, str], Any]) -> None:
    """Nobody is to believe an object locked that is not."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    named = {"Bucket": bucket, "Key": "k"}
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": ahead(days=1)}
    with refused(400, "InvalidRequest"):
        s3.put_object(**named, Body=b"y", ObjectLockLegalHoldStatus="ON")
    with refused(400, "InvalidRequest"):
        s3.put_object_retention(**named, Retention=retention)
    with refused(400, "InvalidRequest"):
        s3.put_object_legal_hold(**named, LegalHold={"Status": "ON"})
    with refused(400, "InvalidRequest"):
        s3.get_object_retention(**named)
    with refused(400, "InvalidRequest"):
        s3.get_object_legal_hold(**named)
    assert s3.get_object(**named)["Body"].read() == b"x"


def test_others_lock_and_bypass_only_where_a_policy_lets_them(
    s3: Any, alt: Any, locked: str, refused: Callable[[int, str], Any]
) -> None:
    """Writing objects is not locking them, deleting versions not bypassing; and conditions bound how long."""

    def allow(*actions: str, **condition: Any) -> None:
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"AWS": "alt-id"},
            "Action": [f"s3:{action}" for action in actions],
            "Resource": f"arn:aws:s3:::{locked}/*",
        }
        if condition:
            statement["Condition"] = {"NumericLessThan": condition}
        s3.put_bucket_policy(Bucket=locked, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))

    retention = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": ahead(days=3)}
    put = s3.put_object(Bucket=locked, Key="k", Body=b"x", **retention)
    named = {"Bucket": locked, "Key": "k", "VersionId": put["VersionId"]}
    allow("PutObject", "DeleteObjectVersion", "GetObjectVersion")
    with refused(403, "AccessDenied"):
        alt.put_object(Bucket=locked, Key="a", Body=b"x", **retention)
    with refused(403, "AccessDenied"):
        alt.delete_object(**named, BypassGovernanceRetention=True)
    assert "ObjectLockMode" not in alt.head_object(**named)
    allow("PutObject", "PutObjectRetention", **{"s3:object-lock-remaining-retention-days": "5"})
    with refused(403, "AccessDenied"):  # a plain put has no retention to compare
        alt.put_object(Bucket=locked, Key="a", Body=b"x")
    alt.put_object(Bucket=locked, Key="a", Body=b"x", **retention)
    long = {"Mode": "GOVERNANCE", "RetainUntilDate": ahead(days=30)}
    with refused(403, "AccessDenied"):
        alt.put_object_retention(Bucket=locked, Key="k", Retention=long)
    alt.put_object_retention(Bucket=locked, Key="k", Retention={"Mode": "GOVERNANCE", "RetainUntilDate": ahead(days=4)})
    allow("DeleteObjectVersion", "BypassGovernanceRetention")
    alt.delete_object(**named, BypassGovernanceRetention=True)


def test_lifecycle_waits_for_what_is_locked(server: Server, s3: Any, locked: str) -> None:
    """A rule that would expire old versions takes the free one, and leaves the locked one for later."""
    for body, more in ((b"locked", {"ObjectLockLegalHoldStatus": "ON"}), (b"free", {}), (b"newest", {})):
        s3.put_object(Bucket=locked, Key="k", Body=body, **more)
    rule = {"ID": "r", "Status": "Enabled", "Filter": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=locked, LifecycleConfiguration={"Rules": [rule]})
    swept = server.run(expiry.sweep(server.objects, int((datetime.now(UTC) + timedelta(days=5)).timestamp() * 1000)))
    assert (swept.versions, swept.failed) == (1, 0)
    versions = s3.list_object_versions(Bucket=locked)["Versions"]
    bodies = [
        s3.get_object(Bucket=locked, Key="k", VersionId=version["VersionId"])["Body"].read() for version in versions
    ]
    assert bodies == [b"newest", b"locked"]


def test_a_hold_and_a_delete_at_once_are_one_after_the_other(server: Server, s3: Any, locked: str) -> None:
    """A version whose hold was acknowledged is there; one whose delete was, is not; never both, never neither."""

    def outcome(call: Callable[..., Any], **asked: Any) -> str:
        try:
            call(**asked)
        except s3.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "done"

    with closing(server.client()) as one, closing(server.client()) as two, ThreadPoolExecutor(2) as threads:
        for turn in range(25):
            key = f"{turn:02}"
            named = {"Bucket": locked, "Key": key}
            named["VersionId"] = s3.put_object(**named, Body=b"x")["VersionId"]
            hold = threads.submit(outcome, one.put_object_legal_hold, **named, LegalHold={"Status": "ON"})
            delete = threads.submit(outcome, two.delete_object, **named)
            outcomes = (hold.result(), delete.result())
            versions = s3.list_object_versions(Bucket=locked, Prefix=key).get("Versions", [])
            assert (*outcomes, [version["VersionId"] for version in versions]) in [
                ("done", "AccessDenied", [named["VersionId"]]),
                ("NoSuchVersion", "done", []),
            ]
