"""ListObjects, ListObjectsV2 and ListObjectVersions.

Called by the operation table. The order and the pages are the store's; here are S3's parameters and S3's XML, written
as strings because listings are the longest documents that a node makes.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from aiohttp import web

from moln_node.s3 import xml
from moln_node.s3.errors import S3Error
from moln_node.s3.parameters import encoder, page_size
from moln_node.s3.representation import second
from moln_node.s3.versions import checked_version
from moln_node.store.model import Kind, Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from moln_node.s3.call import Call
    from moln_node.store.model import Record

_TOKEN_MARK: Final = b"1:"  # the version of the token's form
_EMPTY: Final = Listing((), (), None)


def owner_element(call: Call, owner: str, name: str = "Owner") -> str:
    """`<Owner>` with the id and the display name of an owner."""
    return xml.node(name, xml.leaf("ID", owner), xml.leaf("DisplayName", call.keyring.owner_name(owner)))


async def list_objects(call: Call) -> web.Response:
    """ListObjects: version 1, paged by marker."""
    query = call.query
    encode, limit = encoder(query), page_size(query, "max-keys")
    prefix, delimiter, marker = query.get("prefix", ""), query.get("delimiter", ""), query.get("marker", "")
    page = await _page(call, prefix, delimiter, marker, limit)
    return _document(
        "ListBucketResult",
        _element("Name", call.bucket),
        f"<Prefix>{(xml.escape if xml.can_hold(prefix) else encode)(prefix)}</Prefix>",  # boto3 decodes all but this
        f"<Marker>{encode(marker)}</Marker>",
        f"<NextMarker>{encode(page.next)}</NextMarker>" if page.next is not None and delimiter else "",
        f"<MaxKeys>{limit}</MaxKeys>",
        f"<Delimiter>{encode(delimiter)}</Delimiter>" if delimiter else "",
        _encoding_element(query.get("encoding-type")),
        f"<IsTruncated>{_boolean(value=page.next is not None)}</IsTruncated>",
        *_contents(call, page.records, encode, owners=True),
        *_common_prefixes(page.prefixes, encode),
    )


async def list_objects_v2(call: Call) -> web.Response:
    """ListObjectsV2: paged by opaque tokens."""
    query = call.query
    if query["list-type"] != "2":
        raise S3Error(
            "InvalidArgument", "Invalid list type", ArgumentName="list-type", ArgumentValue=query["list-type"]
        )
    encode, limit = encoder(query), page_size(query, "max-keys")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start_after, token = query.get("start-after", ""), query.get("continuation-token")
    page = await _page(call, prefix, delimiter, read_token(token) if token else start_after, limit)
    return _document(
        "ListBucketResult",
        _element("Name", call.bucket),
        f"<Prefix>{encode(prefix)}</Prefix>",
        f"<MaxKeys>{limit}</MaxKeys>",
        f"<Delimiter>{encode(delimiter)}</Delimiter>" if delimiter else "",
        _encoding_element(query.get("encoding-type")),
        f"<StartAfter>{encode(start_after)}</StartAfter>" if start_after else "",
        _element("ContinuationToken", token) if token is not None else "",
        f"<KeyCount>{len(page.records) + len(page.prefixes)}</KeyCount>",
        f"<IsTruncated>{_boolean(value=page.next is not None)}</IsTruncated>",
        _element("NextContinuationToken", make_token(page.next)) if page.next is not None else "",
        *_contents(call, page.records, encode, owners=query.get("fetch-owner") == "true"),
        *_common_prefixes(page.prefixes, encode),
    )


async def list_object_versions(call: Call) -> web.Response:
    """ListObjectVersions: every version and delete marker, newest first within a key."""
    query = call.query
    encode, limit = encoder(query), page_size(query, "max-keys")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, version_marker = query.get("key-marker", ""), query.get("version-id-marker", "")
    if version_marker and not key_marker:
        raise S3Error(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_marker,
        )
    records: tuple[Record, ...] = ()
    prefixes: tuple[str, ...] = ()
    next_key: str | None = None
    next_version: str | None = None
    if limit:
        page = await call.objects.list_versions(
            call.bucket,
            prefix=prefix,
            delimiter=delimiter,
            after_key=key_marker,
            after_version=checked_version(version_marker) if version_marker else None,
            limit=limit,
        )
        records, prefixes = page.records, page.prefixes
        next_key, next_version = page.next_key, page.next_version
    return _document(
        "ListVersionsResult",
        _element("Name", call.bucket),
        f"<Prefix>{encode(prefix)}</Prefix>",
        f"<KeyMarker>{encode(key_marker)}</KeyMarker>",
        _element("VersionIdMarker", version_marker),
        f"<NextKeyMarker>{encode(next_key)}</NextKeyMarker>" if next_key is not None else "",
        _element("NextVersionIdMarker", next_version) if next_version is not None else "",
        f"<MaxKeys>{limit}</MaxKeys>",
        f"<Delimiter>{encode(delimiter)}</Delimiter>" if delimiter else "",
        _encoding_element(query.get("encoding-type")),
        f"<IsTruncated>{_boolean(value=next_key is not None)}</IsTruncated>",
        *(_version(call, record, encode) for record in records),
        *_common_prefixes(prefixes, encode),
    )


def make_token(after: str) -> str:
    """The continuation token of a page that ended at `after`."""
    return base64.urlsafe_b64encode(_TOKEN_MARK + after.encode()).decode("ascii")


def read_token(token: str) -> str:
    """Where the page of a continuation token starts; InvalidArgument if `make_token` did not make it."""
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
        if raw.startswith(_TOKEN_MARK):
            return raw[len(_TOKEN_MARK) :].decode()
    except (binascii.Error, ValueError):
        pass
    raise S3Error(
        "InvalidArgument",
        "The continuation token provided is incorrect",
        ArgumentName="continuation-token",
        ArgumentValue=token,
    )


async def _page(call: Call, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
    if limit == 0:
        return _EMPTY
    return await call.objects.list_objects(call.bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit)


def _document(name: str, *children: str) -> web.Response:
    return web.Response(body=xml.document(name, *children), content_type="application/xml")


def _element(name: str, text: str) -> str:
    return f"<{name}>{xml.escape(text)}</{name}>"


def _boolean(*, value: bool) -> str:
    return "true" if value else "false"


def _encoding_element(encoding: str | None) -> str:
    return _element("EncodingType", encoding) if encoding else ""


def _contents(call: Call, records: Iterable[Record], encode: Callable[[str], str], *, owners: bool) -> Iterable[str]:
    owner_of = _owner_cache(call) if owners else None
    for record in records:
        checksum = record.checksum
        yield (
            f"<Contents><Key>{encode(record.key)}</Key><LastModified>{second(record.modified_ms)}</LastModified>"
            f"<ETag>&quot;{record.etag}&quot;</ETag>"
            + (
                f"<ChecksumAlgorithm>{checksum.algorithm}</ChecksumAlgorithm><ChecksumType>{checksum.type}</ChecksumType>"
                if checksum
                else ""
            )
            + f"<Size>{record.size}</Size>"
            + (owner_of(record.attributes.owner) if owner_of else "")
            + f"<StorageClass>{record.storage_class}</StorageClass></Contents>"
        )


def _owner_cache(call: Call) -> Callable[[str], str]:
    """`owner_element`, made once for each owner of a page."""
    known: dict[str, str] = {}

    def element(owner: str) -> str:
        if owner not in known:
            known[owner] = owner_element(call, owner)
        return known[owner]

    return element


def _version(call: Call, record: Record, encode: Callable[[str], str]) -> str:
    head = (
        f"<Key>{encode(record.key)}</Key><VersionId>{record.version_id}</VersionId>"
        f"<IsLatest>{_boolean(value=record.latest)}</IsLatest>"
        f"<LastModified>{second(record.modified_ms)}</LastModified>"
    )
    owner = owner_element(call, record.attributes.owner)
    if record.kind is Kind.DELETE_MARKER:
        return f"<DeleteMarker>{head}{owner}</DeleteMarker>"
    checksum = record.checksum
    algorithm = f"<ChecksumAlgorithm>{checksum.algorithm}</ChecksumAlgorithm>" if checksum else ""
    checksum_type = f"<ChecksumType>{checksum.type}</ChecksumType>" if checksum else ""
    return (
        f"<Version>{head}<ETag>&quot;{record.etag}&quot;</ETag>{algorithm}{checksum_type}<Size>{record.size}</Size>"
        f"<StorageClass>{record.storage_class}</StorageClass>{owner}</Version>"
    )


def _common_prefixes(prefixes: Iterable[str], encode: Callable[[str], str]) -> Iterable[str]:
    return (f"<CommonPrefixes><Prefix>{encode(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes)
