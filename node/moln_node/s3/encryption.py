"""Headers that ask for server-side encryption: which of them make no sense, and which only ask for what is not built.

Pure. Nothing here encrypts, so every request with such headers is refused; but a client whose headers are wrong is told
so, as S3 does, before it is told that moln does not encrypt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

_METHOD: Final = "x-amz-server-side-encryption"
_KMS_KEY: Final = "x-amz-server-side-encryption-aws-kms-key-id"
_CUSTOMER: Final = "x-amz-server-side-encryption-customer-"
_SOURCE: Final = "x-amz-copy-source-server-side-encryption-customer-"
PREFIXES: Final = (_METHOD, "x-amz-copy-source-server-side-encryption")
_KMS_METHODS: Final = frozenset({"aws:kms", "aws:kms:dsse"})
_METHODS: Final = _KMS_METHODS | {"AES256"}
_KEY_BYTES: Final = 32


def refusal_of_write(headers: Mapping[str, str]) -> S3Error:
    """Why a write with such headers is not done: InvalidArgument where they are wrong, else NotImplemented."""
    method = headers.get(_METHOD)
    if method is not None and method not in _METHODS:
        return _wrong("The encryption method specified is not supported", _METHOD, method)
    if method is not None and _names(headers, _CUSTOMER):
        return _wrong("Customer provided keys are incompatible with the encryption method specified", _METHOD, method)
    if _KMS_KEY in headers and method not in _KMS_METHODS:
        return _wrong(f"A KMS key requires the HTTP header {_METHOD} : aws:kms", _METHOD, method or "")
    for prefix in (_CUSTOMER, _SOURCE):
        if _names(headers, prefix) and (problem := _problem(headers, prefix)):
            return _wrong(problem, f"{prefix}key", "")
    return S3Error("NotImplemented", "moln does not encrypt objects: send the request without these headers.")


def check_unencrypted(headers: Mapping[str, str]) -> None:
    """Refuse a read or a part that declares how its object is encrypted: none is. InvalidArgument, InvalidRequest."""
    method = headers.get(_METHOD)
    if method is not None or _KMS_KEY in headers:
        raise _wrong(f"{_METHOD} header is not supported for this operation.", _METHOD, method or "")
    if _names(headers, _CUSTOMER) or _names(headers, _SOURCE):
        raise S3Error("InvalidRequest", "The encryption parameters are not applicable to this object.")


def _names(headers: Mapping[str, str], prefix: str) -> bool:
    return any(prefix + name in headers for name in ("algorithm", "key", "key-md5"))


def _problem(headers: Mapping[str, str], prefix: str) -> str | None:
    """What is wrong with a customer's key; its value is never repeated."""
    if headers.get(f"{prefix}algorithm") != "AES256":
        return "Customer provided keys need a valid encryption algorithm: AES256."
    key, md5 = _decoded(headers.get(f"{prefix}key")), _decoded(headers.get(f"{prefix}key-md5"))
    if len(key) != _KEY_BYTES:
        return "The secret key was invalid for the specified algorithm."
    if hashlib.md5(key, usedforsecurity=False).digest() != md5:
        return "The calculated MD5 hash of the key did not match the hash that was provided."
    return None


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _wrong(message: str, name: str, value: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
