"""TLS of port 9001: what this node shows to other nodes, and whom it trusts. Reads a directory, again when it changes.

Kubernetes replaces a mounted Secret in place: new connections then get the new certificate, those that are open go on.
Made by the process; used by its peer port, and by the cluster when it asks other nodes. docs/node.md has the modes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509

from moln_node.exits import StartError
from moln_spec import peertls

if TYPE_CHECKING:
    from pathlib import Path

_POLL_SECONDS: Final = 2.0
_FILES: Final = (peertls.MODE_FILE, peertls.TRUSTED_FILE, peertls.CERTIFICATE_FILE, peertls.KEY_FILE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """The directory's content at one moment, ready for use.

    Attributes:
        mode: how far the cloud is on its way to TLS.
        server: for connections that come in, TLS 1.2 or newer. A client need not show a certificate, because the
            kubelet and Prometheus have none; one that is shown has to be of a trusted authority.
        client: for connections to other nodes, whose certificate and name are checked.
        expires: when the certificate ends, in seconds since 1970.
        fingerprint: `moln_spec.peertls.fingerprint` of it.
    """

    mode: peertls.Mode
    server: ssl.SSLContext
    client: ssl.SSLContext
    expires: float
    fingerprint: str


class PeerTls:
    """The files of a directory. StartError if they can't be used at the start.

    Attributes:
        now: the newest that could be used; it follows the directory while `follow` runs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            self._seen = self._stamp()
            self.now = self._read()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise StartError(f"cannot use the certificates of port 9001 in {directory}: {error}") from error

    async def follow(self) -> None:
        """Take up every change until cancelled; files that are no good are logged, and those of before go on."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                stamp = await asyncio.to_thread(self._stamp)
                if stamp == self._seen:
                    continue
                self._seen = stamp
                self.now = await asyncio.to_thread(self._read)
            except (OSError, ValueError) as error:
                _log.error("port 9001 goes on with the certificates of before, as the new can't be used: %s", error)
            else:
                _log.info("port 9001 has new certificates, and its mode is %s", self.now.mode)

    def _stamp(self) -> tuple[int, ...]:
        """When the files last changed; taken before they are read, so that a change meanwhile is seen the next time."""
        return tuple((self._directory / name).stat().st_mtime_ns for name in _FILES)

    def _read(self) -> Files:
        mode = (self._directory / peertls.MODE_FILE).read_text().strip()
        trusted = (self._directory / peertls.TRUSTED_FILE).read_text()
        chain, key = self._directory / peertls.CERTIFICATE_FILE, self._directory / peertls.KEY_FILE
        certificate = chain.read_text()
        if mode not in peertls.MODES:
            raise ValueError(f"{peertls.MODE_FILE} is {mode!r}; it may be {', '.join(peertls.MODES)}")
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=trusted)
        server.verify_mode = ssl.CERT_OPTIONAL
        client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=trusted)
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(chain, key, _no_password)
        expires = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()
        return Files(mode, server, client, expires, peertls.fingerprint(mode, trusted, certificate))


def _no_password() -> str:
    """OpenSSL must never ask on a terminal."""
    return ""
