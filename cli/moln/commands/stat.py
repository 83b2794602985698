"""`moln stat`: everything that the cloud says about an object or a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from botocore.exceptions import ClientError

from moln.client import Client, errors_about
from moln.options import Session, with_session
from moln.output import size_text, time_text
from moln.s3url import S3Url, parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

_CHECKSUMS: Final = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")


@click.command()
@click.argument("url")
@click.option("--version-id", help="This version rather than the newest.")
@with_session
def stat(session: Session, url: str, version_id: str | None) -> None:
    """Show what URL (s3://BUCKET/KEY or s3://BUCKET) is."""
    place = parse(url)
    client = session.client()
    with errors_about(place):
        document = _object(client, place, version_id) if place.key else _bucket(client, place)
    width = max(len(name) for name in document)
    lines = [
        f"{name:<{width}}  {_text(name, value)}" for name, value in document.items() if value not in (None, {}, "")
    ]
    session.output.show(document, "\n".join(lines))


def _object(client: Client, place: S3Url, version_id: str | None) -> dict[str, Any]:
    wanted = {"Bucket": place.bucket, "Key": place.key, "ChecksumMode": "ENABLED"}
    if version_id is not None:
        wanted["VersionId"] = version_id
    head = client.head_object(**wanted)
    checksums = {name: head[f"Checksum{name}"] for name in _CHECKSUMS if f"Checksum{name}" in head}
    return {
        "bucket": place.bucket,
        "key": place.key,
        "size": head["ContentLength"],
        "modified": head["LastModified"],
        "etag": head["ETag"].strip('"'),
        "version_id": head.get("VersionId"),
        "storage_class": head.get("StorageClass", "STANDARD"),
        "content_type": head.get("ContentType"),
        "content_encoding": head.get("ContentEncoding"),
        "cache_control": head.get("CacheControl"),
        "checksums": checksums,
        "checksum_type": head.get("ChecksumType"),
        "metadata": head.get("Metadata", {}),
        "tags": head.get("TagCount", 0),
    }


def _bucket(client: Client, place: S3Url) -> dict[str, Any]:
    client.head_bucket(Bucket=place.bucket)
    versioning = client.get_bucket_versioning(Bucket=place.bucket).get("Status", "Off")
    return {
        "bucket": place.bucket,
        "versioning": versioning,
        "policy": _configured(lambda: client.get_bucket_policy(Bucket=place.bucket)),
        "cors": _configured(lambda: client.get_bucket_cors(Bucket=place.bucket)),
        "lifecycle": _configured(lambda: client.get_bucket_lifecycle_configuration(Bucket=place.bucket)),
    }


def _configured(ask: Callable[[], object]) -> bool:
    """Whether a bucket has this setting: S3 answers 404 where it has not, 501 where a server cannot have it."""
    try:
        ask()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 501):
            return False
        raise
    return True


def _text(name: str, value: Any) -> str:
    if name == "size":
        return f"{value} ({size_text(value)})"
    if name == "modified":
        moment: datetime = value
        return time_text(moment)
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return "yes" if value is True else "no" if value is False else str(value)
