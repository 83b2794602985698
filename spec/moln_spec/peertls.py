"""TLS of port 9001, as operator and nodes agree on it: files of a Secret, and the modes that lead from HTTP to TLS.

Where one node is a mode away from another, each takes the other's calls. So the operator takes a step when all nodes
are where the last one led, and nobody is refused on the way.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, get_args

Mode = Literal["off", "accept", "send", "require"]
"""off, accept: a node that has the files answers plain HTTP and TLS, and asks others by plain HTTP; what is `off` is
about to lose the files. send: it answers both, and asks by TLS. require: it asks by TLS, and answers nothing else."""

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
TRUSTED_FILE: Final = "ca.crt"
"""The certificates of the authorities that are trusted (PEM): one, or two while one follows the other."""
CERTIFICATE_FILE: Final = "tls.crt"
"""The nodes' certificate (PEM); the operator and `moln` show it too."""
KEY_FILE: Final = "tls.key"
MODE_FILE: Final = "mode"


def asks_by_tls(mode: Mode) -> bool:
    """Whether nodes ask others by TLS."""
    return mode in ("send", "require")


def server_name(cloud: str, namespace: str) -> str:
    """A name that the certificate of every node of a cloud has, for those who reach one by its address."""
    return f"{cloud}-nodes.{namespace}.svc"


def fingerprint(mode: str, trusted: str, certificate: str) -> str:
    """What tells one content of the files from another; it tells nothing of the key."""
    content = f"{mode}\0{trusted}\0{certificate}"
    return hashlib.blake2b(content.encode(), digest_size=8, person=b"moln-peer-tls").hexdigest()
