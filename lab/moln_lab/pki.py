"""The cluster's keys: one authority, a certificate per program, and the kubeconfigs that carry them.

Called by `controlplane` and `hosts`. Made once and kept; everything lies below one folder that only root can read.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from moln_lab.files import write

_LIFETIME = timedelta(days=3650)
_BACKDATED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """The lab's own certificate authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.credential = Credential(folder / "ca.crt", folder / "ca.key")
        if not self.credential.certificate.exists():
            self._make_root()

    @property
    def service_accounts(self) -> Credential:
        """The key pair that signs service accounts' tokens; the "certificate" is the bare public key."""
        pair = Credential(self._folder / "service-accounts.pub", self._folder / "service-accounts.key")
        if not pair.certificate.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write(pair.key, _pem(key))
            public = key.public_key()
            write(
                pair.certificate,
                public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            )
        return pair

    def issue(
        self,
        file: str,
        user: str,
        groups: Sequence[str] = (),
        addresses: Sequence[IPv4Address] = (),
        names: Sequence[str] = (),
    ) -> Credential:
        """Return a certificate for a user (common name) of some groups (organizations), good for serving too."""
        made = Credential(self._folder / f"{file}.crt", self._folder / f"{file}.key")
        if made.certificate.exists():
            return made
        ca = x509.load_pem_x509_certificate(self.credential.certificate.read_bytes())
        ca_key = cast(
            "ec.EllipticCurvePrivateKey",
            serialization.load_pem_private_key(self.credential.key.read_bytes(), password=None),
        )
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _certificate(_name(user, groups), ca.subject, key.public_key(), issued_by=ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
        )
        alternatives = [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        write(made.key, _pem(key))
        write(made.certificate, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return made

    def kubeconfig(self, file: Path, credential: Credential, server: str, cluster: str) -> Path:
        """Write a kubeconfig that holds everything it needs in itself."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster,
                    "cluster": {"server": server, "certificate-authority-data": _b64(self.credential.certificate)},
                }
            ],
            "users": [
                {
                    "name": cluster,
                    "user": {
                        "client-certificate-data": _b64(credential.certificate),
                        "client-key-data": _b64(credential.key),
                    },
                }
            ],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
            "current-context": cluster,
        }
        write(file, yaml.safe_dump(config, sort_keys=False).encode())
        return file

    def _make_root(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("moln-lab")
        certificate = (
            _certificate(name, name, key.public_key(), issued_by=key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(key, hashes.SHA256())
        )
        write(self.credential.key, _pem(key))
        write(self.credential.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issued_by: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    """Return what all certificates have; Python 3.13 and others refuse those without the two key identifiers."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issued_by), critical=False)
    )


def _usage(*purposes: str) -> x509.KeyUsage:
    """Return what a key may be used for, and nothing else."""
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{purpose: purpose in purposes for purpose in every})


def _name(user: str, groups: Sequence[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _b64(file: Path) -> str:
    return b64encode(file.read_bytes()).decode()
