"""GET, PUT and DELETE of `?policy`, and GET of `?policyStatus`. Called by the operation table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.acl.grants import load
from moln_node.s3.acl.ownership import public_access_block
from moln_node.s3.errors import S3Error
from moln_node.s3.policy.document import MAX_BYTES, PolicyError, parse_policy
from moln_node.s3.policy.evaluate import is_public

if TYPE_CHECKING:
    from moln_node.s3.call import Call


async def get_policy(call: Call) -> web.Response:
    """GetBucketPolicy: the text as it was put."""
    text = call.bucket_record.settings.get("policy")
    if text is None:
        raise S3Error("NoSuchBucketPolicy", BucketName=call.bucket)
    return web.Response(body=text.encode(), content_type="application/json")


async def put_policy(call: Call) -> web.Response:
    """PutBucketPolicy: MalformedPolicy for what cannot be taken, so that what is in force is always understood."""
    body = await call.read(MAX_BYTES * 2)
    try:
        text = body.decode()
        policy = parse_policy(text, call.bucket)
    except UnicodeDecodeError:
        raise S3Error("MalformedPolicy", "The policy is not UTF-8.") from None
    except PolicyError as error:
        raise S3Error("MalformedPolicy", f"{error}") from None
    if public_access_block(call.bucket_record).block_policy and is_public(policy):
        raise S3Error("AccessDenied", "The bucket's public access block does not allow public policies.")
    await call.objects.set_bucket(call.bucket, settings={"policy": text})
    return web.Response(status=204)


async def delete_policy(call: Call) -> web.Response:
    """DeleteBucketPolicy."""
    await call.objects.set_bucket(call.bucket, settings={"policy": None})
    return web.Response(status=204)


async def get_policy_status(call: Call) -> web.Response:
    """GetBucketPolicyStatus: whether the policy, or the bucket's ACL, lets everybody in."""
    bucket = call.bucket_record
    text = bucket.settings.get("policy")
    public = text is not None and is_public(parse_policy(text, bucket.name))
    public = public or any(grant.public for grant in load(bucket.settings.get("acl", ""), bucket.owner))
    body = xml.document("PolicyStatus", xml.leaf("IsPublic", public))
    return web.Response(body=body, content_type="application/xml")
