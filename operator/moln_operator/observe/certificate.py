"""Reads a certificate as a Secret holds it. Pure."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def fingerprint_of_pair(chain: str, key: str) -> str:
    """SHA-256 of the first certificate of a chain, in hexadecimal.

    ValueError, with why, where one of both can't be read, or the key is not the certificate's.
    """
    try:
        first = x509.load_pem_x509_certificates(chain.encode())[0]
    except ValueError as error:
        raise ValueError("tls.crt is no certificate in PEM") from error
    try:
        private = load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError) as error:
        raise ValueError("tls.key is no private key in PEM without a password") from error
    if private.public_key() != first.public_key():
        raise ValueError("tls.key is not the key of the certificate in tls.crt")
    return first.fingerprint(hashes.SHA256()).hex()
