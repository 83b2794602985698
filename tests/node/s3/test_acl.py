"""ACLs with real clients: what is shown is what was set, and what was set is what holds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
OWNER = ("FULL_CONTROL", "main-id")


def grants(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """The grants of an ACL: permission, and id or group."""
    return [(grant["Permission"], grant["Grantee"].get("ID") or grant["Grantee"]["URI"]) for grant in answer["Grants"]]


def granting(permission: str, who: str = "alt-id") -> dict[str, Any]:
    """An ACL document: the owner's full control, and a permission for somebody."""
    return {
        "Owner": {"ID": "main-id"},
        "Grants": [
            {"Grantee": {"Type": "CanonicalUser", "ID": "main-id"}, "Permission": "FULL_CONTROL"},
            {"Grantee": {"Type": "CanonicalUser", "ID": who}, "Permission": permission},
        ],
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("private", [OWNER]),
        ("public-read", [("READ", ALL), OWNER]),
        ("public-read-write", [("READ", ALL), ("WRITE", ALL), OWNER]),
        ("authenticated-read", [("READ", AUTHENTICATED), OWNER]),
    ],
)
def test_canned(s3: Any, bucket: str, name: str, expected: list[tuple[str, str]]) -> None:
    """Canned ACLs of buckets and objects read back as the grants they stand for, at creation and later."""
    s3.create_bucket(Bucket=f"{bucket}-{name}", ACL=name)
    assert grants(s3.get_bucket_acl(Bucket=f"{bucket}-{name}")) == expected
    s3.put_bucket_acl(Bucket=bucket, ACL=name)
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == expected
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL=name)
    assert grants(s3.get_object_acl(Bucket=bucket, Key="k")) == expected
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    shown = s3.get_object_acl(Bucket=bucket, Key="k")
    assert (grants(shown), shown["Owner"]) == ([OWNER], {"DisplayName": "Main", "ID": "main-id"})


@pytest.mark.parametrize(
    ("name", "permission"), [("bucket-owner-read", "READ"), ("bucket-owner-full-control", OWNER[0])]
)
def test_canned_for_the_bucket_owner(s3: Any, alt: Any, bucket: str, name: str, permission: str, refused: Any) -> None:
    """An object in another's bucket is its writer's; the bucket's owner reads it when the writer says so."""
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    alt.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused(403, "AccessDenied"):
        s3.get_object(Bucket=bucket, Key="k")
    with refused(403, "AccessDenied"):
        s3.get_object_acl(Bucket=bucket, Key="k")
    alt.put_object(Bucket=bucket, Key="k", Body=b"x", ACL=name)
    assert grants(alt.get_object_acl(Bucket=bucket, Key="k")) == [("FULL_CONTROL", "alt-id"), (permission, "main-id")]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


PERMISSIONS = {"READ": "l", "WRITE": "w", "READ_ACP": "r", "WRITE_ACP": "a", "FULL_CONTROL": "lwra"}


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_bucket_grants_hold(s3: Any, alt: Any, bucket: str, permission: str, refused: Any) -> None:
    """Each permission on a bucket gives exactly its own: list, write, read the ACL, change the ACL."""
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=granting(permission))
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == [OWNER, (permission, "alt-id")]
    for letter, call in (
        ("l", partial(alt.list_objects_v2, Bucket=bucket)),
        ("w", partial(alt.put_object, Bucket=bucket, Key="k", Body=b"")),
        ("r", partial(alt.get_bucket_acl, Bucket=bucket)),
        ("a", partial(alt.put_bucket_acl, Bucket=bucket, ACL="public-read")),
    ):
        if letter in PERMISSIONS[permission]:
            call()
        else:
            with refused(403, "AccessDenied"):
                call()


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_object_grants_hold(s3: Any, alt: Any, bucket: str, permission: str, refused: Any) -> None:
    """Each permission on an object gives exactly its own, and never the object's ownership."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=granting(permission))
    for letter, call in (
        ("l", partial(alt.get_object, Bucket=bucket, Key="k")),
        ("r", partial(alt.get_object_acl, Bucket=bucket, Key="k")),
        ("a", partial(alt.put_object_acl, Bucket=bucket, Key="k", AccessControlPolicy=granting("READ_ACP"))),
    ):
        if letter in PERMISSIONS[permission]:
            call()
        else:
            with refused(403, "AccessDenied"):
                call()
    assert s3.get_object_acl(Bucket=bucket, Key="k")["Owner"]["ID"] == "main-id"


def test_grants_in_headers(s3: Any, alt: Any, bucket: str, refused: Any) -> None:
    """Grants are taken from headers, for buckets, puts, copies and uploads."""
    s3.create_bucket(Bucket=f"{bucket}-h", GrantRead='id="alt-id"', GrantWrite='id="alt-id", id="main-id"')
    assert grants(s3.get_bucket_acl(Bucket=f"{bucket}-h")) == [
        ("READ", "alt-id"),
        ("WRITE", "alt-id"),
        ("WRITE", "main-id"),
    ]
    alt.put_object(Bucket=f"{bucket}-h", Key="k", Body=b"")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", GrantRead=f'uri="{ALL}"', GrantFullControl='id="main-id"')
    alt.get_object(Bucket=bucket, Key="k")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    with refused(403, "AccessDenied"):
        alt.get_object(Bucket=bucket, Key="copy")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", ACL="public-read")
    alt.get_object(Bucket=bucket, Key="copy")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big", ACL="public-read")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload, MultipartUpload=parts)
    alt.get_object(Bucket=bucket, Key="big")


def test_groups_come_first(s3: Any, bucket: str) -> None:
    """However a client orders its grants, they are shown as canned ACLs show theirs."""
    own = s3.get_bucket_acl(Bucket=bucket)
    everybody = {"Grantee": {"Type": "Group", "URI": ALL}, "Permission": "READ"}
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Owner": own["Owner"], "Grants": [*own["Grants"], everybody]})
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == [("READ", ALL), OWNER]


def test_refused_acls(s3: Any, bucket: str, refused: Any) -> None:
    """What cannot be granted is refused by name, and the ACL in force stays."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    mail = granting("READ")
    mail["Grants"][1]["Grantee"] = {"Type": "AmazonCustomerByEmail", "EmailAddress": "a@example.com"}
    stranger = granting("READ") | {"Owner": {"ID": "alt-id"}}
    group = granting("READ")
    group["Grants"][1]["Grantee"] = {"Type": "Group", "URI": "http://example.com/group"}
    for document, status, code in (
        (granting("READ", "nobody"), 400, "InvalidArgument"),
        (mail, 400, "UnresolvableGrantByEmailAddress"),
        (stranger, 403, "AccessDenied"),
        (group, 400, "InvalidArgument"),
        (granting("EVERYTHING"), 400, "MalformedACLError"),
    ):
        with refused(status, code):
            s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy=document)
        with refused(status, code):
            s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy=document)
    with refused(400, "InvalidArgument"):
        s3.put_bucket_acl(Bucket=bucket, ACL="public-write")
    with refused(400, "InvalidRequest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="private", GrantRead='id="alt-id"')
    with refused(400, "UnexpectedContent"):
        s3.put_bucket_acl(Bucket=bucket, ACL="private", AccessControlPolicy=granting("READ"))
    with refused(404, "NoSuchKey"):
        s3.put_object_acl(Bucket=bucket, Key="missing", ACL="private")
    assert grants(s3.get_bucket_acl(Bucket=bucket)) == [OWNER]


def test_revoked_owner(s3: Any, bucket: str, refused: Any) -> None:
    """An owner who took every grant away cannot write, and can give it all back."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Owner": {"ID": "main-id"}, "Grants": []})
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"] == []
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    with refused(403, "AccessDenied"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"y")
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    s3.put_object(Bucket=bucket, Key="k", Body=b"y")


def test_anonymous_access(server: Server, s3: Any, bucket: str, refused: Any) -> None:
    """Nobody's requests do what a public ACL lets everybody do, and what they write is the bucket owner's."""
    config = Config(signature_version=UNSIGNED, retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    nobody = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", config=config)
    s3.put_object(Bucket=bucket, Key="open", Body=b"x", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="users", Body=b"x", ACL="authenticated-read")
    assert nobody.get_object(Bucket=bucket, Key="open")["Body"].read() == b"x"
    for call in (
        partial(nobody.get_object, Bucket=bucket, Key="users"),
        partial(nobody.get_object, Bucket=bucket, Key="missing"),
        partial(nobody.list_objects_v2, Bucket=bucket),
        partial(nobody.put_object, Bucket=bucket, Key="new", Body=b"y"),
        partial(nobody.get_object_acl, Bucket=bucket, Key="open"),
    ):
        with refused(403, "AccessDenied"):
            call()
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    nobody.put_object(Bucket=bucket, Key="new", Body=b"y")
    assert s3.get_object(Bucket=bucket, Key="new")["Body"].read() == b"y"
    with refused(404, "NoSuchKey"):
        nobody.get_object(Bucket=bucket, Key="missing")
    nobody.close()


def test_ownership_controls(s3: Any, alt: Any, new_bucket: Callable[[], str], refused: Any) -> None:
    """Ownership enforced means that ACLs are refused and ignored, and that every object is the bucket owner's."""
    bucket = new_bucket()
    with refused(404, "OwnershipControlsNotFoundError"):
        s3.get_bucket_ownership_controls(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="old", Body=b"x", ACL="public-read")
    alt.get_object(Bucket=bucket, Key="old")

    def own(mode: str) -> None:
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": mode}]})
        shown = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]
        assert shown == {"Rules": [{"ObjectOwnership": mode}]}

    own("BucketOwnerEnforced")
    with refused(403, "AccessDenied"):
        alt.get_object(Bucket=bucket, Key="old")
    with refused(400, "AccessControlListNotSupported"):
        s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    with refused(400, "AccessControlListNotSupported"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="public-read")
    with refused(400, "AccessControlListNotSupported"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="private")
    with refused(400, "AccessControlListNotSupported"):
        s3.put_bucket_acl(Bucket=bucket, ACL="private")
    with refused(400, "AccessControlListNotSupported"):
        s3.put_object_acl(Bucket=bucket, Key="old", ACL="private")
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="bucket-owner-full-control")
    s3.put_object(Bucket=bucket, Key="k", Body=b"", GrantFullControl='id="main-id"')
    own("BucketOwnerPreferred")
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write")
    alt.put_object(Bucket=bucket, Key="given", Body=b"x", ACL="bucket-owner-full-control")
    alt.put_object(Bucket=bucket, Key="kept", Body=b"x")
    s3.get_object(Bucket=bucket, Key="given")
    with refused(403, "AccessDenied"):
        s3.get_object(Bucket=bucket, Key="kept")
    with refused(400, "InvalidBucketAclWithObjectOwnership"):
        own("BucketOwnerEnforced")
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    with refused(404, "OwnershipControlsNotFoundError"):
        s3.get_bucket_ownership_controls(Bucket=bucket)
    with refused(400, "InvalidBucketAclWithObjectOwnership"):
        s3.create_bucket(Bucket=f"{bucket}-e", ObjectOwnership="BucketOwnerEnforced", ACL="public-read")
