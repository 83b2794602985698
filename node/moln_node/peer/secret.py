"""The cloud secret: who may speak with port 9001. Reads one file, again whenever it has changed."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from moln_node.documents import read_text
from moln_node.exits import StartError

if TYPE_CHECKING:
    from pathlib import Path

_SCHEME = "bearer"


class CloudSecret:
    """The secrets in a file, one a line: the first is the cloud's, the others the grace of a rotation.

    A file that was replaced (Kubernetes does so to mounted Secrets) holds from the next request on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = 0
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

    @property
    def current(self) -> str:
        """The secret that this node shows to others."""
        self._read()
        return self._secrets[0].decode()

    def opens(self, authorization: str) -> bool:
        """Whether the Authorization header carries one of the secrets, compared in constant time."""
        try:
            self._read()
        except StartError:
            return False
        scheme, _, offered = authorization.partition(" ")
        candidate = offered.strip().encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(candidate, secret) for secret in self._secrets]
        return scheme.lower() == _SCHEME and any(matches)
