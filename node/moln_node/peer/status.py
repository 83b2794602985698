"""What a node says of itself on port 9001: the documents of `/ready`, `/v1/status` and `/v1/capabilities`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from moln_spec.model import Document


class Check(Document):
    """One named check of `/ready`. `warn` is worth a look and does not make the node unready."""

    name: str
    state: Literal["ok", "warn", "fail"]
    message: str = ""


class Health(Document):
    """The answer of `/live` and `/ready`."""

    ok: bool
    checks: tuple[Check, ...] = ()


class ClassUsage(Document):
    """What one storage class holds: every version counts, bytes are as clients wrote them."""

    objects: int = 0
    bytes: int = 0


class Status(Document):
    """The answer of `GET /v1/status`; the byte counts of the volume are what the file system says."""

    node: str
    cloud: str
    uid: str
    epoch: int
    version: str = Field(description="The release that runs.")
    ready: bool
    checks: tuple[Check, ...]
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    objects: int
    bytes: int
    classes: dict[str, ClassUsage]
    uptime_seconds: float


class Capabilities(Document):
    """The answer of `GET /v1/capabilities`: what this release can read, write and do."""

    version: str
    compression: tuple[str, ...]
    deduplication: bool
    tasks: tuple[str, ...]
    max_object_bytes: int
