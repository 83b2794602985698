"""What an access key may do at all, whoever owns the bucket: its role, and what bounds it. Pure.

Asked by `moln_node.s3.access` before anything else, and by ListBuckets for what it shows.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moln_node.s3.auth.keyring import Identity

_READS = ("s3:Get", "s3:List")
_LISTINGS = frozenset({"s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"})
_HARMLESS = frozenset({"s3:GetBucketLocation", "s3:GetBucketVersioning"})  # what clients ask before anything else


def sees_bucket(identity: Identity, bucket: str) -> bool:
    """Whether a bucket is within the key's bounds."""
    return not identity.buckets or any(fnmatchcase(bucket, glob) for glob in identity.buckets)


def permits(identity: Identity, action: str, bucket: str, key: str, listed: str | None = None) -> bool:
    """Whether the key's own policy lets it do this.

    `listed` is the prefix that a listing is about, None where nothing is listed (HeadBucket). A key that is bounded to
    prefixes sees of a bucket only what is below them, and changes none of the bucket's settings.
    """
    if identity.role == "read-only" and not action.startswith(_READS):
        return False
    if bucket and not sees_bucket(identity, bucket):
        return False
    if not identity.prefixes or not bucket:
        return True
    if key:
        return key.startswith(identity.prefixes)
    if action in _LISTINGS:
        return listed is None or listed.startswith(identity.prefixes)
    return action in _HARMLESS
