"""Makes the certificates of port 9001: an authority for each Cloud that asks for TLS, and what nodes show of it."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moln_operator.kube import labels
from moln_operator.observe.state import Authority, PeerFiles
from moln_operator.plan import names
from moln_operator.plan.peers import dns_names
from moln_spec import peertls

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

    from moln_operator.kube.kinds import Manifest
    from moln_operator.observe.state import Observed
    from moln_operator.plan.peers import Peering

_AUTHORITY_DAYS: Final = 3650
_CERTIFICATE_DAYS: Final = 90
_BEFORE: Final = timedelta(days=1)
"""How long before it is made a certificate begins to be valid: clocks of machines differ."""


def new_authority(observed: Observed) -> Authority:
    """An authority for ten years, in place of the one that there is."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = datetime.fromtimestamp(int(observed.now), UTC)
    ends = made + timedelta(days=_AUTHORITY_DAYS)
    subject = _name(f"moln cloud {observed.cloud.metadata.name}")
    own_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = _builder(subject, subject, key, own_id, made - _BEFORE, ends)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    version = observed.authority.version if observed.authority is not None else ""
    return Authority(_pem(certificate), _key_pem(key), (made - _BEFORE).timestamp(), ends.timestamp(), version)


def peer_files(observed: Observed, found: Peering, authority: Authority | None) -> PeerFiles:
    """What nodes are to be given by a step."""
    given = observed.peers
    if given is not None and (authority is None or not found.anew):
        return replace(given, mode=found.mode, trusted=found.trusted)
    if authority is None:
        raise AssertionError  # a first step is planned with one alone
    version = given.version if given is not None else ""
    return replace(_signed(observed, authority), mode=found.mode, trusted=found.trusted, version=version)


def _signed(observed: Observed, authority: Authority) -> PeerFiles:
    """A new certificate of all nodes, to be shown by who asks as well as by who is asked."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    issuer_key = cast(
        "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey", load_pem_private_key(authority.key.encode(), None)
    )
    key = ec.generate_private_key(ec.SECP256R1())
    made = datetime.fromtimestamp(int(observed.now), UTC)
    begins = max(made - _BEFORE, issuer.not_valid_before_utc)
    ends = min(made + timedelta(days=_CERTIFICATE_DAYS), issuer.not_valid_after_utc)
    known = dns_names(observed)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(_name("moln node"), issuer.subject, key, _id(issuer), begins, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in sorted(known)]), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return PeerFiles(
        mode="accept",
        trusted=(authority.certificate,),
        certificate=_pem(certificate),
        key=_key_pem(key),
        signed_by=authority.certificate,
        names=known,
        begins=begins.timestamp(),
        ends=ends.timestamp(),
    )


def secrets(observed: Observed, authority: Authority | None, files: PeerFiles) -> tuple[Manifest, ...]:
    """The Secret of the authority, where it is known, and the one that nodes are given.

    Each names the version that it replaces, so that of two operators one is refused.
    """
    cloud = observed.cloud.metadata.name
    given = {
        peertls.MODE_FILE: files.mode,
        peertls.TRUSTED_FILE: "".join(files.trusted),
        peertls.CERTIFICATE_FILE: files.certificate,
        peertls.KEY_FILE: files.key,
    }
    made = [_secret(cloud, names.peers_secret(cloud), files.version, given)]
    if authority is not None:
        own = {peertls.CERTIFICATE_FILE: authority.certificate, peertls.KEY_FILE: authority.key}
        made.insert(0, _secret(cloud, names.authority_secret(cloud), authority.version, own))
    return tuple(made)


def _secret(cloud: str, name: str, version: str, values: dict[str, str]) -> Manifest:
    metadata: Manifest = {"name": name, "labels": labels.of_cloud(cloud)}
    if version:
        metadata["resourceVersion"] = version
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_id: x509.AuthorityKeyIdentifier,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
    )


def _id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """How a certificate names the key that signed it."""
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(
            cast("ec.EllipticCurvePublicKey | rsa.RSAPublicKey", issuer.public_key())
        )
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _usage(*, ca: bool) -> x509.KeyUsage:
    """What a key is for: an authority's signs certificates, another's proves who it is."""
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
