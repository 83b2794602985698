"""What a release can do, as port 9001 says it."""

from __future__ import annotations

from moln_spec.model import Document


class Capabilities(Document):
    """The answer of `GET /v1/capabilities`: what this release can read, write and do."""

    version: str
    compression: tuple[str, ...]
    deduplication: bool
    tasks: tuple[str, ...]
    max_object_bytes: int
