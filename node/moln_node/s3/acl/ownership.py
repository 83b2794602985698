"""Whose a new object is, and which ACL it and a new bucket get: by headers, ownership controls, public access block.

Called by every handler that writes an object (put, copy, multipart, POST form) or makes a bucket.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from moln_node.s3.acl.grants import Grant, dump
from moln_node.s3.acl.requests import from_headers
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from moln_node.s3.auth.keyring import Keyring
    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket

ENFORCED = "BucketOwnerEnforced"
PREFERRED = "BucketOwnerPreferred"
WRITER = "ObjectWriter"
OWNERSHIPS = (ENFORCED, PREFERRED, WRITER)
_OWNERS_ALL = "bucket-owner-full-control"


@dataclass(frozen=True, slots=True)
class PublicAccessBlock:
    """What a bucket refuses of public access; a bucket without a setting refuses nothing."""

    block_acls: bool = False
    ignore_acls: bool = False
    block_policy: bool = False
    restrict_buckets: bool = False


@lru_cache(maxsize=256)
def _read_block(text: str) -> PublicAccessBlock:
    return PublicAccessBlock(**json.loads(text)) if text else PublicAccessBlock()


def public_access_block(bucket: Bucket) -> PublicAccessBlock:
    """The public access block in force."""
    return _read_block(bucket.settings.get("publicAccessBlock", ""))


def refuse_lists(bucket: Bucket, headers: Mapping[str, str], acl: str) -> None:
    """AccessControlListNotSupported if the bucket has no ACLs and a request asks for one (`acl`: what it comes to).

    Only what changes nothing is taken there: no word of it, bucket-owner-full-control, or full control in full.
    """
    if bucket.settings.get("ownershipControls") != ENFORCED:
        return
    if acl or headers.get("x-amz-acl", _OWNERS_ALL) != _OWNERS_ALL:
        raise S3Error("AccessControlListNotSupported")


def refuse_public(grants: Iterable[Grant], bucket: Bucket) -> None:
    """AccessDenied if the bucket blocks public ACLs and these grants are public."""
    if public_access_block(bucket).block_acls and any(grant.public for grant in grants):
        raise S3Error("AccessDenied", "The bucket's public access block does not allow public ACLs.")


@dataclass(frozen=True, slots=True)
class Ownership:
    """The owner of a new object and its ACL, as `Attributes` keep them."""

    owner: str
    acl: str


def for_object(call: Call, headers: Mapping[str, str] | None = None) -> Ownership:
    """Owner and ACL of an object that this call writes; S3Error if the headers ask for what the bucket does not allow.

    `headers` are those of the request unless a POST form's fields take their place.
    """
    bucket, keyring = call.bucket_record, call.keyring
    asked = call.headers if headers is None else headers
    mode = bucket.settings.get("ownershipControls", WRITER)
    # what nobody signed belongs to the bucket's owner: nobody else could ever manage it
    owner = bucket.owner if call.identity.anonymous or mode == ENFORCED else call.identity.id
    if mode == PREFERRED and asked.get("x-amz-acl") == _OWNERS_ALL:
        owner = bucket.owner
    grants = from_headers(asked, owner, bucket.owner, keyring)
    if grants is None:
        return Ownership(owner, "")
    acl = dump(grants, owner)
    refuse_lists(bucket, asked, acl)
    refuse_public(grants, bucket)
    return Ownership(owner, acl)


def for_bucket(headers: Mapping[str, str], owner: str, keyring: Keyring) -> dict[str, str]:
    """The settings that a new bucket gets from its headers: `acl` and `ownershipControls` where they are asked for."""
    settings = {}
    mode = headers.get("x-amz-object-ownership")
    if mode is not None:
        if mode not in OWNERSHIPS:
            raise S3Error("InvalidArgument", f"x-amz-object-ownership must be one of {', '.join(OWNERSHIPS)}.")
        settings["ownershipControls"] = mode
    grants = from_headers(headers, owner, owner, keyring)
    acl = "" if grants is None else dump(grants, owner)
    if acl:
        if mode == ENFORCED:
            raise S3Error("InvalidBucketAclWithObjectOwnership")
        settings["acl"] = acl
    return settings
