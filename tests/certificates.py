"""Certificates for tests: made on the spot, valid for an hour."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
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
        self.key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate.serial_number
