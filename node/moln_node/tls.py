"""The certificate of the S3 port, read again when its files change.

Kubernetes replaces a mounted Secret in place when a certificate is renewed: new connections then get the new one, those
that are open go on. Used by the process.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from moln_node.exits import StartError

if TYPE_CHECKING:
    from pathlib import Path

_POLL_SECONDS: Final = 2.0
_log = logging.getLogger(__name__)


class Certificate:
    """A certificate chain and its private key, both PEM. StartError if they can't be used at the start.

    Attributes:
        context: what the port serves with, TLS 1.2 or newer; it follows the files while `follow` runs.
        expires: when the first certificate of the chain ends, in seconds since 1970.
        fingerprint: its SHA-256, in hexadecimal.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.expires = 0.0
        self.fingerprint = ""
        try:
            self._seen = self._stamp()
            self._load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise StartError(f"cannot use the certificate {chain} with the key {key}: {error}") from error

    async def follow(self) -> None:
        """Take up every change of the files until cancelled; a bad pair is logged, and the one before goes on."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                stamp = await asyncio.to_thread(self._stamp)
                if stamp == self._seen:
                    continue
                self._seen = stamp
                self._load()
            except (OSError, ValueError) as error:
                _log.error("the certificate of before goes on, because the new one can't be used: %s", error)
            else:
                _log.info("serves with the new certificate from %s", self._chain)

    def _stamp(self) -> tuple[int, int]:
        """When the files last changed."""
        return self._chain.stat().st_mtime_ns, self._key.stat().st_mtime_ns

    def _load(self) -> None:
        # a trial first: a live context that fails half way would be left with a chain that does not fit its key
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self._chain, self._key, _no_password)
        first = x509.load_pem_x509_certificate(self._chain.read_bytes())
        self.context.load_cert_chain(self._chain, self._key, _no_password)
        self.expires = first.not_valid_after_utc.timestamp()
        self.fingerprint = first.fingerprint(hashes.SHA256()).hex()


def _no_password() -> str:
    """OpenSSL must never ask on a terminal."""
    return ""
