"""May they? The key's role and bounds, then the bucket's policy, its owner, and ACLs; an explicit Deny wins.

Called once a request by `moln_node.s3.app`, and by handlers that touch more than the request names.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.auth.keyring import Identity
    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket


def is_read(action: str) -> bool:
    """Whether an action changes nothing."""
    return action.startswith(("s3:Get", "s3:List", "s3:Head"))


def within_role(identity: Identity, action: str, bucket: str, key: str) -> bool:
    """Whether the key's own policy lets it do this, whoever owns the bucket."""
    if identity.role == "read-only" and not is_read(action):
        return False
    if identity.buckets and bucket and not any(fnmatchcase(bucket, glob) for glob in identity.buckets):
        return False
    return not (identity.prefixes and key) or key.startswith(identity.prefixes)


async def authorise(
    call: Call,
    action: str,
    bucket: str,
    key: str,
    *,
    version_id: str | None = None,  # noqa: ARG001 ACLs of objects come with acl.py
    known: Bucket | None = None,
    tags: Mapping[str, str] | None = None,  # noqa: ARG001 policies come with policy/
) -> Bucket:
    """The bucket, if the caller may do this to it or to its key; S3Error AccessDenied if not."""
    identity = call.identity
    if not within_role(identity, action, bucket, key):
        raise S3Error("AccessDenied", "The access key does not allow this.")
    found = known if known is not None else await call.objects.bucket(bucket)
    if identity.anonymous or (identity.role != "admin" and identity.id != found.owner):
        raise S3Error("AccessDenied")
    return found
