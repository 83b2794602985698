"""What a store keeps: the vocabulary of every room above it. Frozen values, no behaviour, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_spec.version import Version


class Versioning(StrEnum):
    """A bucket's versioning state, in S3's words."""

    OFF = ""
    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


class Kind(StrEnum):
    """What a record says of its key."""

    OBJECT = "object"
    DELETE_MARKER = "delete-marker"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and its settings.

    `settings` are documents by name (policy, cors, lifecycle, tagging, acl, ...), opaque to the store; `versioning` and
    `quota_bytes` are not, because writes obey them.
    """

    name: str
    owner: str
    created_ms: int
    versioning: Versioning = Versioning.OFF
    quota_bytes: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checksum:
    """An additional checksum as S3 shows it: `value` is base64 (with `-N` parts for a composite), `type` its scope."""

    algorithm: str  # CRC32, CRC32C, CRC64NVME, SHA1, SHA256
    value: str
    type: str = "FULL_OBJECT"  # or COMPOSITE


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart upload, or of the object that it became."""

    number: int
    size: int
    etag: str
    modified_ms: int
    checksum: Checksum | None = None


GOVERNANCE: Final = "GOVERNANCE"
COMPLIANCE: Final = "COMPLIANCE"
HOLD_ON: Final = "ON"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a version is kept from being removed, and against whom; no mode: it is not."""

    mode: str = ""  # GOVERNANCE, COMPLIANCE
    until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Lock:
    """What keeps a version from being removed. `hold` is empty where nobody ever set one."""

    retention: Retention = Retention()
    hold: str = ""  # ON, OFF


UNLOCKED: Final = Lock()


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a writer says of an object besides its bytes.

    `headers` are the stored content headers by lower-case name (content-type, cache-control, ...); `metadata` is user
    metadata by lower-case name without `x-amz-meta-`; `acl` is opaque to the store, and so is `encryption`, which is
    empty where the bytes are as the client sent them.
    """

    owner: str
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    acl: str = ""
    encryption: str = ""
    lock: Lock = UNLOCKED


@dataclass(frozen=True, slots=True)
class Record:
    """One version of a key.

    `version` orders it; `null` says that S3 shows it as version `null` (written while versioning was off or suspended).
    `latest` says that it was the key's newest version when it was read. `size` is what the client wrote, `stored_size`
    what there is to read: they differ where the bytes are encrypted. The sizes of parts are the client's too.
    """

    bucket: str
    key: str
    version: Version
    null: bool
    kind: Kind
    modified_ms: int
    attributes: Attributes
    size: int = 0
    etag: str = ""  # hexadecimal, without quotes; `-N` for a multipart object of N parts
    storage_class: str = ""
    checksum: Checksum | None = None
    parts: tuple[Part, ...] = ()
    latest: bool = True
    stored_size: int = 0

    @property
    def version_id(self) -> str:
        """The version id that S3 shows."""
        return "null" if self.null else self.version.encode()


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload under way.

    `checksum_algorithm` and `checksum_type` are empty when the client named none; `assigned` says that it did not ask
    for the storage class.
    """

    id: str
    bucket: str
    key: str
    started_ms: int
    attributes: Attributes
    storage_class: str
    checksum_algorithm: str = ""
    checksum_type: str = ""
    assigned: bool = False


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold of the key's newest version at the moment a write takes place; checked where the write is decided.

    `if_match` and `if_none_match` are etags without quotes, or `*`. The other two are S3's conditions on delete.
    """

    if_match: str | None = None
    if_none_match: str | None = None
    if_size: int | None = None
    if_modified_ms: int | None = None  # whole seconds, in milliseconds


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is known of a body only when its last byte has passed; `size` is the client's where the bytes differ."""

    etag: str
    checksum: Checksum | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete did: the version removed or the delete marker made; `version_id` None when nothing was there."""

    version_id: str | None
    delete_marker: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of keys: newest versions, and the prefixes that stand for groups; `next` is where the next page starts."""

    records: tuple[Record, ...]
    prefixes: tuple[str, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class VersionListing:
    """A page of versions, newest first within a key; the markers of the next page are both None at the end."""

    records: tuple[Record, ...]
    prefixes: tuple[str, ...]
    next_key: str | None
    next_version: str | None


@dataclass(frozen=True, slots=True)
class UploadListing:
    """A page of multipart uploads under way."""

    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    next_key: str | None
    next_upload: str | None


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a bucket, a class or a node holds: objects count every version, bytes are those clients wrote."""

    objects: int
    bytes: int
