"""What the headers of a request say of encryption. Pure; a customer's key is never repeated, and never kept."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from moln_node.s3.errors import S3Error
from moln_node.s3.sse.envelope import KEY_BYTES, Method

if TYPE_CHECKING:
    from collections.abc import Mapping

METHOD: Final = "x-amz-server-side-encryption"
KMS_KEY: Final = "x-amz-server-side-encryption-aws-kms-key-id"
CUSTOMER: Final = "x-amz-server-side-encryption-customer-"
SOURCE: Final = "x-amz-copy-source-server-side-encryption-customer-"
_KMS_CONTEXT: Final = "x-amz-server-side-encryption-context"
_DOUBLE: Final = "aws:kms:dsse"


@dataclass(frozen=True, slots=True)
class Asked:
    """How a write wants its object encrypted: with the customer's own key, or under a master key (named: SSE-KMS)."""

    method: Method
    key_id: str = ""
    customer_key: bytes = field(default=b"", repr=False)


def asked(headers: Mapping[str, str]) -> Asked | None:
    """What a write asks for, None where it asks for nothing; InvalidArgument, NotImplemented."""
    name = headers.get(METHOD)
    customer_key = key_of_customer(headers, CUSTOMER)
    if name is not None and customer_key is not None:
        raise _wrong("Customer provided keys are incompatible with the encryption method specified", METHOD, name)
    key_id = headers.get(KMS_KEY)
    if customer_key is not None and key_id is None:
        return Asked(Method.CUSTOMER, customer_key=customer_key)
    if name == _DOUBLE or _KMS_CONTEXT in headers:
        raise S3Error("NotImplemented", f"moln does not do {_DOUBLE}, and takes no encryption context.")
    if name not in {None, Method.MASTER, Method.NAMED}:
        raise _wrong("The encryption method specified is not supported", METHOD, name or "")
    if key_id is not None and name != Method.NAMED:
        raise _wrong(f"A KMS key requires the HTTP header {METHOD} : {Method.NAMED}", METHOD, name or "")
    if name == Method.NAMED and not key_id:
        raise _wrong(
            f"There is no default key for {Method.NAMED}: name a master key of the cloud in {KMS_KEY}.", KMS_KEY, ""
        )
    return None if name is None else Asked(Method(name), key_id or "")


def key_of_customer(headers: Mapping[str, str], prefix: str) -> bytes | None:
    """The customer's key under `prefix` (CUSTOMER or SOURCE), None where no header names one; InvalidArgument."""
    if not any(prefix + name in headers for name in ("algorithm", "key", "key-md5")):
        return None
    if headers.get(f"{prefix}algorithm") != Method.MASTER:
        raise _wrong("Customer provided keys need a valid encryption algorithm: AES256.", f"{prefix}algorithm", "")
    key, md5 = _decoded(headers.get(f"{prefix}key")), _decoded(headers.get(f"{prefix}key-md5"))
    if len(key) != KEY_BYTES:
        raise _wrong("The secret key was invalid for the specified algorithm.", f"{prefix}key", "")
    if hashlib.md5(key, usedforsecurity=False).digest() != md5:
        raise _wrong(
            "The calculated MD5 hash of the key did not match the hash that was provided.", f"{prefix}key-MD5", ""
        )
    return key


def refuse_method(headers: Mapping[str, str]) -> None:
    """A read has no say in how its object is encrypted; InvalidArgument."""
    for name in (METHOD, KMS_KEY):
        if name in headers:
            raise _wrong(f"{name} header is not supported for this operation.", name, headers[name])


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _wrong(message: str, name: str, value: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
