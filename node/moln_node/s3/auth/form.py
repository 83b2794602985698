"""Who signed a POST form: SigV4 or SigV2 over its policy, or nobody.

SigV2 lives on here, and only here: forms made with it are found in pages that nobody signs again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

from moln_node.s3.auth import sigv4
from moln_node.s3.auth.keyring import ANONYMOUS
from moln_node.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.s3.auth.keyring import Identity, Key, Keyring

_SIGNED = frozenset({"policy", "signature", "awsaccesskeyid", "x-amz-signature", "x-amz-credential"})


def authenticate_form(fields: Mapping[str, str], keyring: Keyring, now: float) -> Identity:
    """The signer of a form; S3Error if the signature isn't right, anonymous if the form has no trace of one."""
    if not _SIGNED & fields.keys():
        return ANONYMOUS
    if "x-amz-credential" in fields or "x-amz-signature" in fields:
        return _version_4(fields, keyring, now)
    access_key, signature, policy = _demand(fields, "AWSAccessKeyId", "Signature", "policy")
    key = _find(keyring, access_key, now)
    digest = hmac.digest(key.secret.encode(), policy.encode(), hashlib.sha1)
    if not sigv4.equal(base64.b64encode(digest).decode(), signature):
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=access_key)
    return key.identity


def _demand(fields: Mapping[str, str], *names: str) -> list[str]:
    for name in names:
        if not fields.get(name.lower()):
            raise S3Error(
                "InvalidArgument",
                f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the "
                "fields.",
                ArgumentName=name,
            )
    return [fields[name.lower()] for name in names]


def _find(keyring: Keyring, access_key: str, now: float) -> Key:
    key = keyring.find(access_key, now)
    if key is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)
    return key


def _version_4(fields: Mapping[str, str], keyring: Keyring, now: float) -> Identity:
    algorithm, credential, date, signature, policy = _demand(
        fields, "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "policy"
    )
    if algorithm != sigv4.ALGORITHM:
        raise S3Error("InvalidArgument", f"x-amz-algorithm only supports {sigv4.ALGORITHM}")
    try:
        scope = sigv4.parse_credential(credential)
    except ValueError as error:
        raise S3Error("InvalidArgument", f"The x-amz-credential is mal-formed; {error}.") from None
    if sigv4.parse_date(date) is None or date[:8] != scope.date:
        raise S3Error("InvalidArgument", "x-amz-date must be a time of the credential's day, as in 20260131T120000Z.")
    key = _find(keyring, scope.access_key, now)
    signing_key = keyring.signing_key(key, scope.date, scope.region, scope.service)
    if not sigv4.equal(sigv4.sign(signing_key, policy), signature):
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=scope.access_key)
    return key.identity
