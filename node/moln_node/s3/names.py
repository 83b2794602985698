"""What may be the name of a bucket or the key of an object. Pure; called where either is made."""

from __future__ import annotations

import re
from typing import Final

from moln_node.s3.errors import S3Error

_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_ADDRESS: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_RESERVED_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_KEY_BYTES: Final = 1024


def check_bucket_name(name: str) -> None:
    """Raise InvalidBucketName unless S3 allows the name for a new bucket."""
    if (
        not _BUCKET.fullmatch(name)
        or any(pair in name for pair in ("..", ".-", "-."))
        or _ADDRESS.fullmatch(name)
        or name.startswith(_RESERVED_PREFIXES)
        or name.endswith(_RESERVED_SUFFIXES)
    ):
        raise S3Error(
            "InvalidBucketName",
            "The specified bucket is not valid: 3 to 63 lower-case letters, digits, dots and hyphens, beginning and"
            " ending with a letter or digit, no address and no reserved word.",
            BucketName=name,
        )


def check_key(key: str) -> None:
    """Raise KeyTooLongError unless the key fits into 1,024 bytes of UTF-8."""
    if len(key) * 4 > _KEY_BYTES and (size := len(key.encode())) > _KEY_BYTES:
        raise S3Error("KeyTooLongError", Size=size, MaxSizeAllowed=_KEY_BYTES)
