"""Headers of server-side encryption: the wrong ones are named, the right ones are 501, and none is ever ignored."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from moln_node.s3.encryption import refusal_of_write

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(32))
METHOD = "x-amz-server-side-encryption"
KMS = f"{METHOD}-aws-kms-key-id"
CUSTOMER = {
    f"{METHOD}-customer-algorithm": "AES256",
    f"{METHOD}-customer-key": base64.b64encode(KEY).decode(),
    f"{METHOD}-customer-key-md5": base64.b64encode(hashlib.md5(KEY, usedforsecurity=False).digest()).decode(),
}


def without(name: str) -> dict[str, str]:
    """A customer's key with one header missing."""
    return {header: value for header, value in CUSTOMER.items() if not header.endswith(name)}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({METHOD: "AES256"}, "NotImplemented"),
        ({METHOD: "aws:kms"}, "NotImplemented"),
        ({METHOD: "aws:kms", KMS: "a-key"}, "NotImplemented"),
        (CUSTOMER, "NotImplemented"),
        ({METHOD: "aes:kms"}, "InvalidArgument"),
        ({METHOD: "AES256", KMS: "a-key"}, "InvalidArgument"),
        ({KMS: "a-key"}, "InvalidArgument"),
        ({METHOD: "AES256", **CUSTOMER}, "InvalidArgument"),
        ({METHOD: "aws:kms", KMS: "a-key", **CUSTOMER}, "InvalidArgument"),
        (without("algorithm"), "InvalidArgument"),
        (without("key"), "InvalidArgument"),
        (without("key-md5"), "InvalidArgument"),
        ({**CUSTOMER, f"{METHOD}-customer-algorithm": "AES192"}, "InvalidArgument"),
        ({**CUSTOMER, f"{METHOD}-customer-key": "c2hvcnQ="}, "InvalidArgument"),
        ({**CUSTOMER, f"{METHOD}-customer-key-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "InvalidArgument"),
        ({f"x-amz-copy-source-{METHOD.removeprefix('x-amz-')}-customer-algorithm": "AES256"}, "InvalidArgument"),
    ],
)
def test_writes_are_told_what_is_wrong_first(headers: dict[str, str], code: str) -> None:
    """Malformed or contradicting headers are the client's mistake; well-formed ones ask for what is not built."""
    error = refusal_of_write(headers)
    assert error.code == code
    assert CUSTOMER[f"{METHOD}-customer-key"] not in str(error) + str(error.extra)


def test_nothing_is_read_or_written_as_if_it_were_encrypted(
    s3: Any, bucket: str, refused: Callable[[int, str], Any]
) -> None:
    """Reads and parts that declare a customer's key are refused: the object is not encrypted with it."""
    own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY.decode("latin-1")}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused(400, "InvalidRequest"):
        s3.get_object(Bucket=bucket, Key="k", **own)
    with refused(400, "400"):
        s3.head_object(Bucket=bucket, Key="k", **own)
    with refused(501, "NotImplemented"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"y", **own)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    with refused(400, "InvalidRequest"):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"y", **own)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
