"""What roles and bounds let an access key do, by table."""

from __future__ import annotations

import pytest

from moln_node.s3.auth.keyring import Identity
from moln_node.s3.roles import permits

WRITER = Identity("o", "O", "K", "read-write")
READER = Identity("o", "O", "K", "read-only")
LOGS = Identity("o", "O", "K", "read-write", buckets=("logs-*", "one"))
BELOW = Identity("o", "O", "K", "read-write", prefixes=("a/", "b/"))


@pytest.mark.parametrize(
    ("identity", "action", "bucket", "key", "listed", "permitted"),
    [
        (WRITER, "s3:PutBucketPolicy", "x", "", None, True),
        (READER, "s3:GetObject", "x", "k", None, True),
        (READER, "s3:ListBucket", "x", "", "", True),
        (READER, "s3:PutObject", "x", "k", None, False),
        (READER, "s3:DeleteObject", "x", "k", None, False),
        (READER, "s3:AbortMultipartUpload", "x", "k", None, False),
        (READER, "s3:CreateBucket", "x", "", None, False),
        (READER, "s3:ListAllMyBuckets", "", "", None, True),
        (LOGS, "s3:PutObject", "logs-1", "k", None, True),
        (LOGS, "s3:PutObject", "one", "k", None, True),
        (LOGS, "s3:GetObject", "two", "k", None, False),
        (LOGS, "s3:CreateBucket", "logs-2", "", None, True),
        (LOGS, "s3:CreateBucket", "two", "", None, False),
        (LOGS, "s3:ListAllMyBuckets", "", "", None, True),
        (BELOW, "s3:PutObject", "x", "a/k", None, True),
        (BELOW, "s3:PutObject", "x", "ab", None, False),
        (BELOW, "s3:ListBucket", "x", "", "b/c", True),
        (BELOW, "s3:ListBucket", "x", "", "", False),
        (BELOW, "s3:ListBucketVersions", "x", "", "a", False),
        (BELOW, "s3:ListBucket", "x", "", None, True),
        (BELOW, "s3:GetBucketLocation", "x", "", "", True),
        (BELOW, "s3:PutBucketPolicy", "x", "", None, False),
        (BELOW, "s3:GetBucketPolicy", "x", "", None, False),
        (BELOW, "s3:DeleteBucket", "x", "", None, False),
    ],
)
def test_permits(identity: Identity, action: str, bucket: str, key: str, listed: str | None, permitted: bool) -> None:
    """A role bounds what is done, the bounds where: nothing outside a prefix is read, written or listed."""
    assert permits(identity, action, bucket, key, listed) is permitted
