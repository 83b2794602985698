"""The content type of a file by its name alone: bytes are never looked at, so they are never misread. Pure."""

from __future__ import annotations

import mimetypes

_ENCODINGS = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def by_name(name: str) -> str | None:
    """The type that the name's ending stands for; None where it stands for none, and the server's default holds."""
    kind, encoding = mimetypes.guess_type(name, strict=False)
    return _ENCODINGS.get(encoding, "application/octet-stream") if encoding else kind
