"""A record as the headers of a response. Pure; called by every handler that answers about one object."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from moln_node.cluster import lifecycle
from moln_node.s3 import checksums, xml
from moln_node.s3.errors import S3Error
from moln_node.s3.request_attributes import METADATA_PREFIX, STANDARD
from moln_node.store.model import Kind, Versioning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from moln_node.store.model import Bucket, Checksum, Record

_OVERRIDES: Final = {
    "response-content-type": "Content-Type",
    "response-content-language": "Content-Language",
    "response-expires": "Expires",
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
}


def quoted(etag: str) -> str:
    """An etag as headers and documents show it."""
    return f'"{etag}"'


def second(milliseconds: int) -> str:
    """A moment in XML to the second, as S3 shows it, so that listings and headers agree."""
    return _second(milliseconds // 1000)


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return xml.iso_time(seconds * 1000)


def version_headers(bucket: Bucket, record: Record) -> dict[str, str]:
    """`x-amz-version-id`, which a bucket shows from when versioning was first switched on."""
    if bucket.versioning is Versioning.OFF and record.null:
        return {}
    headers = {"x-amz-version-id": record.version_id}
    if record.kind is Kind.DELETE_MARKER:
        headers["x-amz-delete-marker"] = "true"
    return headers


def written_version(record: Record) -> dict[str, str]:
    """`x-amz-version-id` of what was just written: S3 leaves it out while versioning is off or suspended."""
    return {} if record.null else {"x-amz-version-id": record.version_id}


def checksum_headers(checksum: Checksum | None) -> dict[str, str]:
    """The additional checksum and its scope."""
    if checksum is None:
        return {}
    return {
        checksums.HEADER_PREFIX + checksum.algorithm.lower(): checksum.value,
        checksums.TYPE_HEADER: checksum.type,
    }


def object_headers(bucket: Bucket, record: Record) -> dict[str, str]:
    """What GET and HEAD say of an object, besides its length and checksum."""
    attributes = record.attributes
    headers = {name.title(): _wire(value) for name, value in attributes.headers.items()}
    headers["ETag"] = quoted(record.etag)
    headers["Last-Modified"] = xml.http_time(record.modified_ms)
    headers["Accept-Ranges"] = "bytes"
    for name, value in attributes.metadata.items():
        headers[METADATA_PREFIX + name] = _wire(value)
    if attributes.tags:
        headers["x-amz-tagging-count"] = str(len(attributes.tags))
    if record.storage_class and record.storage_class != STANDARD:
        headers["x-amz-storage-class"] = record.storage_class
    headers.update(version_headers(bucket, record))
    headers.update(expiration_header(bucket, record))
    return headers


def expiration_header(bucket: Bucket, record: Record) -> dict[str, str]:
    """`x-amz-expiration` of a current version that a rule will expire."""
    document = bucket.settings.get(lifecycle.SETTING)
    expiry = lifecycle.expiry_of(lifecycle.read(document).rules, record) if document and record.latest else None
    if expiry is None:
        return {}
    return {"x-amz-expiration": f'expiry-date="{xml.http_time(expiry.at_ms)}", rule-id="{quote(expiry.rule)}"'}


def response_overrides(query: Mapping[str, str], *, anonymous: bool) -> dict[str, str]:
    """The headers that `response-*` parameters replace; only a signed request may choose them."""
    overrides = {header: query[name] for name, header in _OVERRIDES.items() if name in query}
    if overrides and anonymous:
        raise S3Error(
            "InvalidRequest",
            "Request specific response headers cannot be used for anonymous GET requests.",
        )
    for header, value in overrides.items():
        if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
            raise S3Error("InvalidArgument", f"{header} cannot hold control characters.", ArgumentName=header)
    return overrides


def _wire(value: str) -> str:
    """A stored value as a header: what is not ASCII goes out as an RFC 2047 word, as S3 does."""
    if value.isascii():
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="
