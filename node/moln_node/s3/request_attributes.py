"""What the headers of a put, a copy or a new upload say of the object: content headers, metadata, tags, class.

Pure, called by `writing`, `copy` and `multipart`. A header that asks for what moln does not do is refused here, so that
nobody believes it done. Encryption is the business of `moln_node.s3.sse`, object lock that of `moln_node.s3.lock`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from moln_node.s3 import tag_set
from moln_node.s3.errors import S3Error
from moln_spec.classes import Candidate, UnknownStorageClassError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moln_spec.classes import Assignment

METADATA_PREFIX: Final = "x-amz-meta-"
DEFAULT_CONTENT_TYPE: Final = "binary/octet-stream"
STANDARD: Final = "STANDARD"
_CONTENT_HEADERS: Final = frozenset(
    {"content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires"}
)
_METADATA_BYTES: Final = 2048
_NOT_BUILT: Final = (
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
)


@dataclass(frozen=True, slots=True)
class Described:
    """What the headers say. `tags` is None where no x-amz-tagging came, `storage_class` where none was asked for."""

    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str] | None
    storage_class: str | None


def describe(headers: Mapping[str, str]) -> Described:
    """Read the headers once; S3Error for what is too large, malformed or not built."""
    content: dict[str, str] = {}
    metadata: dict[str, str] = {}
    tags: dict[str, str] | None = None
    storage_class: str | None = None
    for sent_name, value in headers.items():
        name = sent_name.lower()
        if name in _CONTENT_HEADERS:
            content[name] = _text(value)
        elif name.startswith(METADATA_PREFIX):
            key = name[len(METADATA_PREFIX) :]
            metadata[key] = f"{metadata[key]},{_text(value)}" if key in metadata else _text(value)
        elif name == "x-amz-tagging":
            tags = tag_set.parse_header(value)
        elif name == "x-amz-storage-class":
            storage_class = value
        elif name.startswith(_NOT_BUILT):
            raise S3Error("NotImplemented", f"moln does not do what the header {name} asks for.", Header=name)
    if metadata:
        _check_size(metadata)
    _drop_aws_chunked(content)
    content.setdefault("content-type", DEFAULT_CONTENT_TYPE)
    return Described(content, metadata, tags, storage_class)


def checked_class(name: str | None, bucket: str, key: str, assign: Callable[[Candidate], Assignment]) -> str | None:
    """The storage class to ask the store for; InvalidStorageClass if the cloud has none of this name.

    STANDARD is what many clients send when they mean none: where no class has that name it is the default.
    """
    if name is None:
        return None
    try:
        assign(Candidate(bucket=bucket, key=key, requested_class=name))
    except UnknownStorageClassError as error:
        if name == STANDARD:
            return None
        raise S3Error("InvalidStorageClass", f"{error}", StorageClassRequested=name) from error
    return name


def _text(value: str) -> str:
    """A header value as text: bytes that are no UTF-8 (which aiohttp keeps as surrogates) are Latin-1."""
    if value.isascii():
        return value
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _check_size(metadata: Mapping[str, str]) -> None:
    size = sum(len(key.encode("utf-8", "replace")) + len(value.encode()) for key, value in metadata.items())
    if size > _METADATA_BYTES:
        raise S3Error("MetadataTooLarge", Size=size, MaxSizeAllowed=_METADATA_BYTES)


def _drop_aws_chunked(content: dict[str, str]) -> None:
    """`aws-chunked` frames the upload and is no coding of the object."""
    encoding = content.get("content-encoding")
    if encoding is None:
        return
    codings = [coding.strip() for coding in encoding.split(",")]
    kept = [coding for coding in codings if coding.lower() not in {"aws-chunked", ""}]
    if not kept:
        del content["content-encoding"]
    elif kept != codings:
        content["content-encoding"] = ", ".join(kept)
