"""Who may do what, over the wire: roles of keys, owners, bucket policies, public access blocks, quotas."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable, Iterator

    from .conftest import Server


def allow(bucket: str, *actions: str, **more: Any) -> str:
    """A policy that lets everybody do these things to the bucket and to what is in it."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": list(actions), "Resource": resources, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def anonymous(server: Server) -> Iterator[Any]:
    """A client without a key."""
    config = Config(signature_version=UNSIGNED, retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", config=config)
    yield client
    client.close()


@pytest.fixture
def admin(server: Server) -> Iterator[Any]:
    """A client with an admin key."""
    client = server.client("ADMINKEY", "admin-secret-key")
    yield client
    client.close()


@pytest.fixture
def reader(server: Server) -> Iterator[Any]:
    """A client with a read-only key of the ordinary owner."""
    client = server.client("READKEY", "read-secret-key")
    yield client
    client.close()


def test_strangers_have_no_access(s3: Any, alt: Any, anonymous: Any, bucket: str, refused: Any) -> None:
    """Nobody but the owner gets at a bucket that was never shared, and a missing key is not told from one that is."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for client in (alt, anonymous):
        for call in (
            partial(client.get_object, Bucket=bucket, Key="k"),
            partial(client.get_object, Bucket=bucket, Key="missing"),
            partial(client.put_object, Bucket=bucket, Key="k", Body=b"y"),
            partial(client.delete_object, Bucket=bucket, Key="k"),
            partial(client.list_objects_v2, Bucket=bucket),
            partial(client.get_bucket_policy, Bucket=bucket),
            partial(client.put_bucket_acl, Bucket=bucket, ACL="public-read"),
            partial(client.delete_bucket, Bucket=bucket),
            partial(client.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/k"),
        ):
            with refused(403, "AccessDenied"):
                call()
    with refused(403, "AccessDenied"):
        anonymous.list_buckets()
    with refused(403, "AccessDenied"):
        anonymous.create_bucket(Bucket="anonymous-made")
    with refused(404, "NoSuchBucket"):
        anonymous.get_object(Bucket="no-such-bucket-at-all", Key="k")


def test_roles(admin: Any, reader: Any, s3: Any, bucket: str, refused: Any) -> None:
    """An admin key reaches every bucket; a read-only key of the owner reads and changes nothing."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert admin.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert bucket in {each["Name"] for each in admin.list_buckets()["Buckets"]}
    assert reader.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    for call in (
        partial(reader.put_object, Bucket=bucket, Key="k", Body=b"y"),
        partial(reader.delete_object, Bucket=bucket, Key="k"),
        partial(reader.put_bucket_acl, Bucket=bucket, ACL="public-read-write"),
        partial(reader.create_bucket, Bucket="made-by-reader"),
    ):
        with refused(403, "AccessDenied"):
            call()
    errors = reader.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})["Errors"]
    assert [error["Code"] for error in errors] == ["AccessDenied"]


def test_a_policy_opens_and_closes(s3: Any, alt: Any, anonymous: Any, bucket: str, refused: Any) -> None:
    """A policy is in force from the next request on, for exactly what it names, and gone when it is deleted."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused(404, "NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=bucket)
    text = allow(bucket, "s3:GetObject")
    assert s3.put_bucket_policy(Bucket=bucket, Policy=text)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text
    for client in (alt, anonymous):
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
        with refused(403, "AccessDenied"):
            client.list_objects_v2(Bucket=bucket)
        with refused(403, "AccessDenied"):
            client.get_object(Bucket=bucket, Key="missing")
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:GetObject", "s3:ListBucket"))
    with refused(404, "NoSuchKey"):
        alt.get_object(Bucket=bucket, Key="missing")
    s3.delete_bucket_policy(Bucket=bucket)
    with refused(403, "AccessDenied"):
        alt.get_object(Bucket=bucket, Key="k")


def test_deny_binds_the_owner_who_can_take_it_back(s3: Any, admin: Any, bucket: str, refused: Any) -> None:
    """An explicit Deny holds for owner and admin too, but never for the policy itself: nobody locks themselves out."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:*", Effect="Deny"))
    for client in (s3, admin):
        with refused(403, "AccessDenied"):
            client.get_object(Bucket=bucket, Key="k")
    s3.delete_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_conditions_see_the_request(s3: Any, alt: Any, bucket: str, refused: Any) -> None:
    """Prefix, tags of the object, headers and address decide as the policy says."""
    s3.put_object(Bucket=bucket, Key="open", Body=b"x", Tagging="class=open")
    s3.put_object(Bucket=bucket, Key="shut", Body=b"x", Tagging="class=shut")
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=allow(bucket, "s3:GetObject", Condition={"StringEquals": {"s3:ExistingObjectTag/class": "open"}}),
    )
    assert alt.get_object(Bucket=bucket, Key="open")["Body"].read() == b"x"
    with refused(403, "AccessDenied"):
        alt.get_object(Bucket=bucket, Key="shut")
    condition = {"StringLike": {"s3:prefix": "docs/*"}, "IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:ListBucket", Condition=condition))
    alt.list_objects_v2(Bucket=bucket, Prefix="docs/a")
    with refused(403, "AccessDenied"):
        alt.list_objects_v2(Bucket=bucket)
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=allow(bucket, "s3:PutObject", Condition={"StringEquals": {"s3:RequestObjectTag/class": "open"}}),
    )
    alt.put_object(Bucket=bucket, Key="new", Body=b"x", Tagging="class=open")
    with refused(403, "AccessDenied"):
        alt.put_object(Bucket=bucket, Key="new", Body=b"x", Tagging="class=shut")


def test_copy_needs_both_ends(s3: Any, alt: Any, new_bucket: Callable[[], str], refused: Any) -> None:
    """A copy reads its source and writes its target, and each must be allowed."""
    source, target = new_bucket(), new_bucket()
    s3.put_object(Bucket=source, Key="public/a", Body=b"x")
    s3.put_object(Bucket=source, Key="private/a", Body=b"x")
    s3.put_bucket_policy(Bucket=source, Policy=allow(source, "s3:GetObject"))
    s3.put_bucket_policy(
        Bucket=target,
        Policy=allow(target, "s3:PutObject", Condition={"StringLike": {"s3:x-amz-copy-source": f"{source}/public/*"}}),
    )
    alt.copy_object(Bucket=target, Key="a", CopySource={"Bucket": source, "Key": "public/a"})
    with refused(403, "AccessDenied"):
        alt.copy_object(Bucket=target, Key="a", CopySource={"Bucket": source, "Key": "private/a"})
    s3.delete_bucket_policy(Bucket=source)
    with refused(403, "AccessDenied"):
        alt.copy_object(Bucket=target, Key="a", CopySource={"Bucket": source, "Key": "public/a"})


def test_malformed_policies(s3: Any, bucket: str, refused: Any) -> None:
    """A policy that cannot be taken is refused, and the one in force stays."""
    text = allow(bucket, "s3:GetObject")
    s3.put_bucket_policy(Bucket=bucket, Policy=text)
    for bad in ("{", "{}", allow("another-bucket", "s3:GetObject"), allow(bucket, "iam:PassRole")):
        with refused(400, "MalformedPolicy"):
            s3.put_bucket_policy(Bucket=bucket, Policy=bad)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == text


def test_whoever_may_list_a_prefix_is_told_what_is_not_below_it(s3: Any, alt: Any, bucket: str, refused: Any) -> None:
    """A missing key is 404 to a caller who could see so in a listing of it, and 403 to anybody else."""
    below = {"StringLike": {"s3:prefix": "public/*"}}
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:ListBucket", Condition=below))
    with refused(404, "NoSuchKey"):
        alt.get_object(Bucket=bucket, Key="public/none")
    with refused(403, "AccessDenied"):
        alt.get_object(Bucket=bucket, Key="private/none")


def test_policy_status(s3: Any, bucket: str) -> None:
    """A bucket is shown as public when its policy or its ACL is."""

    def public() -> bool:
        found: bool = s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"]
        return found

    assert not public()
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:ListBucket"))
    assert public()
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:ListBucket", Principal={"AWS": "alt-id"}))
    assert not public()
    s3.put_bucket_acl(Bucket=bucket, ACL="authenticated-read")
    assert public()


def test_public_access_block(s3: Any, alt: Any, bucket: str, refused: Any) -> None:
    """A block refuses public policies and ACLs, and ignores those that are there."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    alt.list_objects_v2(Bucket=bucket)
    alt.get_object(Bucket=bucket, Key="k")
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False
    )
    asked = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": False,
    }
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=asked)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == asked
    for call in (
        partial(alt.list_objects_v2, Bucket=bucket),
        partial(alt.get_object, Bucket=bucket, Key="k"),
        partial(s3.put_bucket_acl, Bucket=bucket, ACL="public-read"),
        partial(s3.put_object, Bucket=bucket, Key="n", Body=b"", ACL="authenticated-read"),
        partial(s3.put_bucket_policy, Bucket=bucket, Policy=allow(bucket, "s3:GetObject")),
    ):
        with refused(403, "AccessDenied"):
            call()
    s3.delete_public_access_block(Bucket=bucket)
    with refused(404, "NoSuchPublicAccessBlockConfiguration"):
        s3.get_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "s3:GetObjectTagging"))
    alt.get_object_tagging(Bucket=bucket, Key="k")
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    with refused(403, "AccessDenied"):
        alt.get_object_tagging(Bucket=bucket, Key="k")
    s3.get_object_tagging(Bucket=bucket, Key="k")


def test_expected_bucket_owner(s3: Any, bucket: str, refused: Any) -> None:
    """A request that names another owner than the bucket has is refused."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner="main-id")
    with refused(403, "AccessDenied"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner="alt-id")


def quota(client: Any, method: str, bucket: str, body: str = "") -> tuple[int, str]:
    """Send a request to ?quota with a client's key, as no client knows it."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session

    request = AWSRequest(method, f"{client.meta.endpoint_url}/{bucket}?quota", data=body)
    request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    SigV4Auth(client._request_signer._credentials, "s3", "us-east-1").add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    return answer.status_code, answer.text


def test_quota(s3: Any, admin: Any, bucket: str) -> None:
    """An admin bounds a bucket; writes beyond are refused whole, and only an admin lifts the bound."""
    document = "<QuotaConfiguration><Bytes>1000</Bytes></QuotaConfiguration>"
    assert quota(s3, "PUT", bucket, document)[0] == 403
    assert quota(admin, "PUT", bucket, "<QuotaConfiguration><Bytes>many</Bytes></QuotaConfiguration>")[0] == 400
    assert quota(admin, "PUT", bucket, document)[0] == 200
    s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 600)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="b", Body=b"x" * 600)
    assert caught.value.response["Error"]["Code"] == "QuotaExceeded"
    status, text = quota(s3, "GET", bucket)
    assert status == 200
    for element in ("<Bytes>1000</Bytes>", "<UsedBytes>600</UsedBytes>", "<UsedObjects>1</UsedObjects>"):
        assert element in text
    assert quota(admin, "DELETE", bucket)[0] == 204
    s3.put_object(Bucket=bucket, Key="b", Body=b"x" * 600)


def test_what_is_off_can_be_switched_off(s3: Any, alt: Any, bucket: str, refused: Any) -> None:
    """Tools that clear every setting of a bucket go on; but not those of a stranger."""
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "BucketOwner"})
    s3.put_bucket_accelerate_configuration(Bucket=bucket, AccelerateConfiguration={"Status": "Suspended"})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    for gone in (s3.delete_bucket_website, s3.delete_bucket_replication):
        assert gone(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for absent in (
        s3.delete_bucket_analytics_configuration,
        s3.delete_bucket_intelligent_tiering_configuration,
        s3.delete_bucket_inventory_configuration,
        s3.delete_bucket_metrics_configuration,
    ):
        with refused(404, "NoSuchConfiguration"):
            absent(Bucket=bucket, Id="any")
    with refused(403, "AccessDenied"):
        alt.delete_bucket_website(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused(403, "InvalidObjectState"):
        s3.restore_object(Bucket=bucket, Key="k", RestoreRequest={"Days": 1})
    with refused(404, "NoSuchKey"):
        s3.restore_object(Bucket=bucket, Key="other", RestoreRequest={"Days": 1})


def test_what_is_not_built(s3: Any, bucket: str, refused: Any, raw: http.client.HTTPConnection) -> None:
    """Features that a bucket does not use answer as AWS does; to use them is refused with 501, never ignored."""
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    assert "InventoryConfigurationList" not in s3.list_bucket_inventory_configurations(Bucket=bucket)
    for call, code in (
        (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
        (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError"),
    ):
        with refused(404, code):
            call(Bucket=bucket)
    with refused(501, "NotImplemented"):
        s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
    with refused(501, "NotImplemented"):
        s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    with refused(501, "NotImplemented"):
        s3.put_bucket_accelerate_configuration(Bucket=bucket, AccelerateConfiguration={"Status": "Enabled"})
    topic = {"TopicArn": "arn:aws:sns:x:1:t", "Events": ["s3:ObjectCreated:*"]}
    with refused(501, "NotImplemented"):
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={"TopicConfigurations": [topic]},
            SkipDestinationValidation=True,
        )
    raw.request("PATCH", f"/{bucket}")
    answer = raw.getresponse()
    assert (answer.status, b"MethodNotAllowed" in answer.read()) == (405, True)


def test_bucket_tagging(s3: Any, bucket: str, refused: Any) -> None:
    """Tags of a bucket are put, read back and deleted."""
    with refused(404, "NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=bucket)
    tags = [{"Key": "team", "Value": "storage"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused(404, "NoSuchTagSet"):
        s3.get_bucket_tagging(Bucket=bucket)
