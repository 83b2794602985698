"""Certificates for tests: made on the spot, valid for an hour."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Pair:
    """A self-signed certificate for loopback and for a DNS name, and its key, in files."""

    chain: Path
    key: Path
    dns: str = "localhost"

    def renew(self) -> int:
        """Write a new pair in place of the one before, as Kubernetes does; its serial number."""
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "moln test")])
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName(self.dns)]
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(private, hashes.SHA256())
        )
        self.key.write_text(_pem_of(private))
        self.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate.serial_number


@dataclass
class Authority:
    """An authority of port 9001, as the operator makes one, and the files that nodes get of it."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def certificate(self) -> str:
        """Its own certificate (PEM)."""
        return _pem_of(self._signed(self.key, True, dt.timedelta(hours=1)))

    def issue(self, hours: float = 1, address: str = "127.0.0.1") -> tuple[str, str]:
        """A new certificate for an address that ends in so many hours, and its key (PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        return _pem_of(self._signed(key, False, dt.timedelta(hours=hours), address)), _pem_of(key)

    def write(
        self, directory: Path, mode: str, *trusted: Authority, pair: tuple[str, str] | None = None
    ) -> tuple[str, str]:
        """Write the files, all at once as Kubernetes does; it trusts itself where nothing else is said."""
        made = pair or self.issue()
        content = {
            "mode": mode,
            "ca.crt": "".join(authority.certificate for authority in trusted or (self,)),
            "tls.crt": made[0],
            "tls.key": made[1],
        }
        version = directory.with_name(f"{directory.name}.{os.urandom(4).hex()}")
        version.mkdir()
        for name, text in content.items():
            (version / name).write_text(text)
        link = directory.with_name(f"{directory.name}.new")
        link.symlink_to(version)
        link.rename(directory)
        return made

    def client(self, directory: Path, pair: tuple[str, str] | None = None) -> ssl.SSLContext:
        """What a client needs that trusts this authority, and shows a certificate where one is given."""
        context = ssl.create_default_context(cadata=self.certificate)
        if pair is not None:
            file = directory / f"client-{os.urandom(4).hex()}.pem"
            file.write_text("".join(pair))
            context.load_cert_chain(file)
        return context

    def _signed(
        self, key: ec.EllipticCurvePrivateKey, ca: bool, life: dt.timedelta, address: str = "127.0.0.1"
    ) -> x509.Certificate:
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "moln test authority")])
        own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "moln test node")])
        now = dt.datetime.now(dt.UTC)
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
        )
        names = [x509.IPAddress(ipaddress.ip_address(address))]
        builder = (
            x509.CertificateBuilder()
            .subject_name(issuer if ca else own)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=2))
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not ca, key_cert_sign=ca, encipher_only=False, decipher_only=False, **usage
                ),
                True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        return builder.sign(self.key, hashes.SHA256())


def _pem_of(thing: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM).decode()
    return thing.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
