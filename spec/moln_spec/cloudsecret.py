"""The cloud secret, by which nodes and operator know each other on port 9001: what it may be, and its fingerprint."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_USABLE: Final = re.compile(r"[!-~]{16,200}")


def is_usable(secret: str) -> bool:
    """Whether a text can be a cloud secret: 16 to 200 printable ASCII characters without a space, as a header takes."""
    return _USABLE.fullmatch(secret) is not None


def fingerprint(secret: str) -> str:
    """What tells one secret from another, and does not tell the secret."""
    return hashlib.blake2b(secret.encode(), digest_size=8, person=b"moln-fingerprnt").hexdigest()
