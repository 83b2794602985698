"""The cloud secret: who may speak with port 9001. Reads one file, again whenever it has changed."""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING

from moln_node.documents import read_text
from moln_node.exits import StartError
from moln_spec.cloudsecret import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

_SCHEME = "bearer"
_FRESH_SECONDS = 0.5
_log = logging.getLogger(__name__)


class CloudSecret:
    """The secrets in a file, one a line: the first is the cloud's, the others the grace of a rotation.

    A file that was replaced (Kubernetes does so to mounted Secrets) holds within a second, and once `fingerprints` has
    told of it. One that can't be used is logged, and the secrets of before go on; StartError where there are none yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = 0
        self._fresh_until = 0.0
        self._secrets: tuple[bytes, ...] = ()
        self._read()

    def _read(self) -> None:
        try:
            changed = self._path.stat().st_mtime_ns
        except OSError as error:
            raise StartError(f"cannot read the cloud secret from {self._path}: {error.strerror}") from error
        if changed == self._changed:
            return
        lines = (line.strip() for line in read_text(self._path, "cloud secret").splitlines())
        secrets = tuple(line.encode() for line in lines if line)
        if not secrets:
            raise StartError(f"the cloud secret in {self._path} is empty")
        self._secrets, self._changed = secrets, changed

    def _follow(self) -> None:
        self._fresh_until = time.monotonic() + _FRESH_SECONDS
        try:
            self._read()
        except StartError as error:
            _log.error("the cloud secret of before goes on: %s", error)

    def _follow_soon(self) -> None:
        """As `_follow`, but not for each of many calls a second: to ask for the file costs more than to compare."""
        if time.monotonic() >= self._fresh_until:
            self._follow()

    @property
    def current(self) -> str:
        """The secret that this node shows to others."""
        self._follow_soon()
        return self._secrets[0].decode()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Which secrets are in force from now on, the one that is shown to others first."""
        self._follow()
        return tuple(fingerprint(secret.decode()) for secret in self._secrets)

    def opens(self, authorization: str) -> bool:
        """Whether the Authorization header carries one of the secrets."""
        self._follow_soon()
        scheme, _, offered = authorization.partition(" ")
        candidate = offered.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != _SCHEME:
            return False
        if self._is_one(candidate):
            return True
        self._follow()  # it may be a new one
        return self._is_one(candidate)

    def _is_one(self, candidate: bytes) -> bool:
        """Compared in constant time, with all of them."""
        matches = [hmac.compare_digest(candidate, secret) for secret in self._secrets]
        return any(matches)
