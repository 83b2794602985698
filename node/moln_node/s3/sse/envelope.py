"""What a record keeps of an object's encryption: its method, and its data key under another key. Pure.

Every object has a data key of its own. It is wrapped (AES-256-GCM) under the customer's key, or under a master key,
and bound to the object's bucket and key, so that it opens nothing elsewhere. The store keeps this as a text that means
nothing to it.
"""

from __future__ import annotations

import hmac
import os
from enum import StrEnum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_ETAG_BYTES: Final = 16


class Method(StrEnum):
    """Whose key it is: in S3's words where S3 has one."""

    MASTER = "AES256"
    NAMED = "aws:kms"
    CUSTOMER = "SSE-C"


class Envelope(msgspec.Struct, frozen=True):
    """A wrapped data key. `key` is the id of the master key; empty for a customer's, of which nothing is kept."""

    method: Method
    key: str
    wrapped: bytes
    multipart: bool = False


class WrongKeyError(Exception):
    """The key is not the one that the data key was wrapped under, or the record is not the one it was wrapped for."""


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Envelope)


def write(envelope: Envelope) -> str:
    """The text for a record."""
    return _ENCODER.encode(envelope).decode()


def read(text: str) -> Envelope:
    """What `write` wrote."""
    return _DECODER.decode(text)


def wrap(
    method: Method, key_id: str, wrapping: bytes, bucket: str, key: str, *, multipart: bool = False
) -> tuple[Envelope, bytes]:
    """A new data key, and the envelope that keeps it for this object."""
    data_key, nonce = os.urandom(KEY_BYTES), os.urandom(_NONCE_BYTES)
    wrapped = nonce + AESGCM(wrapping).encrypt(nonce, data_key, _context(method, key_id, bucket, key))
    return Envelope(method, key_id, wrapped, multipart), data_key


def unwrap(envelope: Envelope, wrapping: bytes, bucket: str, key: str) -> bytes:
    """The data key; WrongKeyError."""
    nonce, sealed = envelope.wrapped[:_NONCE_BYTES], envelope.wrapped[_NONCE_BYTES:]
    context = _context(envelope.method, envelope.key, bucket, key)
    try:
        return AESGCM(wrapping).decrypt(nonce, sealed, context)
    except (InvalidTag, ValueError):
        raise WrongKeyError from None


def _context(method: Method, key_id: str, bucket: str, key: str) -> bytes:
    return f"moln data key\0{method}\0{key_id}\0{bucket}\0{key}".encode()


def masked_etag(data_key: bytes, md5: bytes, part: int) -> str:
    """The etag where S3's is not the MD5: it tells nothing about the bytes to who has not their data key."""
    return hmac.digest(data_key, b"moln etag" + part.to_bytes(4, "big") + md5, "sha256")[:_ETAG_BYTES].hex()
