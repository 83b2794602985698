"""Reads certificates as Secrets hold them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from moln_operator.observe.state import Authority, PeerFiles
from moln_spec import peertls

if TYPE_CHECKING:
    from collections.abc import Mapping

Extension = TypeVar("Extension", bound=x509.ExtensionType)


def fingerprint_of_pair(chain: str, key: str) -> str:
    """SHA-256 of the first certificate of a chain, in hexadecimal.

    ValueError, with why, where one of both can't be read, or the key is not the certificate's.
    """
    return _first_of_pair(chain, key).fingerprint(hashes.SHA256()).hex()


def authority(certificate: str, key: str, version: str = "") -> Authority:
    """An authority from its certificate and key (PEM); ValueError, with why, where they are none."""
    found = _first_of_pair(certificate, key)
    constraints = _extension(found, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise ValueError("tls.crt is no certificate of an authority")
    if not isinstance(found.public_key(), (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
        raise ValueError("tls.key is neither of ECDSA nor of RSA")  # noqa: TRY004 (what is wrong is in a file)
    return Authority(_pem(found), key, *_life(found), version)


def peer_files(files: Mapping[str, str], version: str = "") -> PeerFiles:
    """What nodes were given; KeyError where a file is missing, ValueError where one is no good."""
    certificate, key = files[peertls.CERTIFICATE_FILE], files[peertls.KEY_FILE]
    mode = files[peertls.MODE_FILE]
    if mode not in peertls.MODES:
        raise ValueError("mode is none that there is")
    found = _first_of_pair(certificate, key)
    trusted = x509.load_pem_x509_certificates(files[peertls.TRUSTED_FILE].encode())
    names = _extension(found, x509.SubjectAlternativeName)
    begins, ends = _life(found)
    return PeerFiles(
        mode=mode,
        trusted=tuple(map(_pem, trusted)),
        certificate=certificate,
        key=key,
        signed_by=next((_pem(one) for one in trusted if _has_signed(one, found)), ""),
        names=frozenset(names.get_values_for_type(x509.DNSName) if names is not None else ()),
        begins=begins,
        ends=ends,
        version=version,
    )


def _has_signed(one: x509.Certificate, other: x509.Certificate) -> bool:
    try:
        other.verify_directly_issued_by(one)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _life(certificate: x509.Certificate) -> tuple[float, float]:
    """When it begins and when it ends, in seconds since 1970."""
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _first_of_pair(chain: str, key: str) -> x509.Certificate:
    """The first certificate of a chain, if the key is its own; ValueError."""
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
    return first
