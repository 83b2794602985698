"""The source of CopyObject and UploadPartCopy: which object it is, whether the caller may read it, its conditions."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from moln_node.s3.call import Touched
from moln_node.s3.conditions import check_copy_source
from moln_node.s3.errors import S3Error, from_store
from moln_node.s3.versions import checked_version
from moln_node.store.errors import IsDeleteMarkerError, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moln_node.cluster.objects import Reading
    from moln_node.s3.call import Call
    from moln_node.store.model import Bucket


@dataclass(frozen=True, slots=True)
class Source:
    """What x-amz-copy-source names."""

    bucket: str
    key: str
    version_id: str | None


def parse_source(header: str) -> Source:
    """Read `[/]bucket/key[?versionId=id]`, percent-encoded; InvalidArgument."""
    path, mark, version = header.rpartition("?versionId=")
    if not mark:
        path, version = header, ""
    try:
        bucket, _, key = unquote(path.removeprefix("/"), errors="strict").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key:
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=header,
        )
    return Source(bucket, key, checked_version(version) if mark else None)


@asynccontextmanager
async def open_source(call: Call) -> AsyncIterator[tuple[Source, Bucket, Reading]]:
    """Open what x-amz-copy-source names, if the caller may read it and its x-amz-copy-source-if-* conditions hold.

    What the store says of the source is told in the source's name, not in the target's.
    """
    source = parse_source(call.headers["x-amz-copy-source"])
    action = "s3:GetObjectVersion" if source.version_id else "s3:GetObject"
    opened = False
    what = "REST.COPY.PART_GET" if "uploadId" in call.query else "REST.COPY.OBJECT_GET"
    try:
        try:
            bucket = await call.authorise(action, source.bucket, source.key, version_id=source.version_id)
        except S3Error:
            with suppress(StoreError):
                kept_from = await call.objects.bucket(source.bucket)
                call.touched.append(Touched(kept_from, source.key, source.version_id, what))
            raise
        call.touched.append(Touched(bucket, source.key, source.version_id, what))
        expected = call.headers.get("x-amz-source-expected-bucket-owner")
        if expected is not None and expected != bucket.owner:
            raise S3Error("AccessDenied", "The source's bucket does not belong to the owner that is expected.")
        async with call.objects.open(source.bucket, source.key, source.version_id) as reading:
            check_copy_source(call.headers, reading.record.etag, reading.record.modified_ms)
            opened = True
            yield source, bucket, reading
    except IsDeleteMarkerError as error:
        raise S3Error(
            "InvalidRequest",
            "The source of a copy request may not specifically refer to a delete marker by version id.",
        ) from error
    except StoreError as error:
        if opened:
            raise
        raise from_store(error, source.bucket, source.key) from error
