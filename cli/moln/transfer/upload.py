"""One file or stream to one object. Large files go in parts; an interrupted upload goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError

from moln.errors import CliError, Exit
from moln.transfer.checksums import crc32_text, file_crc32_text
from moln.transfer.parts import DEFAULT, Part, cut, part_size
from moln.transfer.resume import Memory, Unfinished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from moln.client import Client
    from moln.s3url import S3Url
    from moln.transfer.progress import Progress


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How objects are written.

    `attributes` are parameters of S3's put and create-upload calls, `conditions` of put and complete-upload.
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    part_size: int = DEFAULT
    jobs: int = 8


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was written."""

    size: int
    etag: str
    version_id: str | None
    resumed_bytes: int = 0


def upload_file(
    client: Client, pool: Executor, path: Path, target: S3Url, options: UploadOptions, progress: Progress
) -> Uploaded:
    """Write a file to an object; CliError CORRUPT if the server has other bytes than the file."""
    before = path.stat()
    progress.expect(before.st_size)
    each = part_size(before.st_size, options.part_size)
    if before.st_size <= each:
        written = upload_bytes(client, path.read_bytes(), target, options)
        progress.advance(before.st_size)
    else:
        written = _PartedUpload(client, pool, path, target, options, progress, each).run()
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise CliError(f"{path} changed while it was read: {target} may hold a mix; copy it again", Exit.CONFLICT)
    return written


def upload_bytes(client: Client, data: bytes, target: S3Url, options: UploadOptions) -> Uploaded:
    """Write bytes to an object in one request."""
    answer = client.put_object(
        Bucket=target.bucket,
        Key=target.key,
        Body=data,
        ChecksumCRC32=crc32_text(data),
        **options.attributes,
        **options.conditions,
    )
    return Uploaded(len(data), answer["ETag"].strip('"'), answer.get("VersionId"))


def upload_stream(
    client: Client, pool: Executor, stream: BinaryIO, target: S3Url, options: UploadOptions, progress: Progress
) -> Uploaded:
    """Write a stream of unknown length; nothing is visible, and nothing left behind, if it breaks off."""
    first = _read_fully(stream, options.part_size)
    if len(first) < options.part_size:
        progress.expect(len(first))
        written = upload_bytes(client, first, target, options)
        progress.advance(len(first))
        return written
    upload = _begin(client, target, options)
    try:
        parts = _send_all(client, pool, _blocks(first, stream, options.part_size), target, upload, options, progress)
        answer = _complete(client, target, upload, parts, options, None)
    except BaseException:
        client.abort_multipart_upload(Bucket=target.bucket, Key=target.key, UploadId=upload.upload_id)
        raise
    return Uploaded(sum(part["Size"] for part in parts), answer["ETag"].strip('"'), answer.get("VersionId"))


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    pieces: list[bytes] = []
    left = size
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _blocks(first: bytes, stream: BinaryIO, size: int) -> Iterator[bytes]:
    block = first
    while block:
        yield block
        block = _read_fully(stream, size)


def _begin(client: Client, target: S3Url, options: UploadOptions) -> Unfinished:
    answer = client.create_multipart_upload(
        Bucket=target.bucket,
        Key=target.key,
        ChecksumAlgorithm="CRC32",
        ChecksumType="FULL_OBJECT",
        **options.attributes,
    )
    return Unfinished(upload_id=answer["UploadId"], full_object=answer.get("ChecksumType") == "FULL_OBJECT")


def _send(client: Client, target: S3Url, upload: Unfinished, number: int, data: bytes) -> dict[str, Any]:
    crc = crc32_text(data)
    answer = client.upload_part(
        Bucket=target.bucket,
        Key=target.key,
        UploadId=upload.upload_id,
        PartNumber=number,
        Body=data,
        ChecksumCRC32=crc,
    )
    return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": crc, "Size": len(data)}


def _send_all(
    client: Client,
    pool: Executor,
    blocks: Iterable[bytes],
    target: S3Url,
    upload: Unfinished,
    options: UploadOptions,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Send blocks as they come, at most `jobs` at a time in memory."""
    done: list[dict[str, Any]] = []
    pending: set[Future[dict[str, Any]]] = set()

    def collect(futures: Iterable[Future[dict[str, Any]]]) -> None:
        for future in futures:
            part = future.result()
            progress.advance(part["Size"])
            done.append(part)

    try:
        for number, block in enumerate(blocks, 1):
            progress.expect(len(block))
            pending.add(pool.submit(_send, client, target, upload, number, block))
            if len(pending) >= options.jobs:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                collect(finished)
        collect(pending)
    except BaseException:
        for future in pending:
            future.cancel()
        wait(pending)
        raise
    return sorted(done, key=lambda part: int(part["PartNumber"]))


def _complete(
    client: Client,
    target: S3Url,
    upload: Unfinished,
    parts: list[dict[str, Any]],
    options: UploadOptions,
    crc: str | None,
) -> dict[str, Any]:
    named = [{name: part[name] for name in ("PartNumber", "ETag", "ChecksumCRC32")} for part in parts]
    whole = {"ChecksumCRC32": crc, "ChecksumType": "FULL_OBJECT"} if crc is not None and upload.full_object else {}
    answer: dict[str, Any] = client.complete_multipart_upload(
        Bucket=target.bucket,
        Key=target.key,
        UploadId=upload.upload_id,
        MultipartUpload={"Parts": named},
        **whole,
        **options.conditions,
    )
    return answer


class _PartedUpload:
    """A large file on its way: every part is sent unless the server has it already, checked by its checksum."""

    def __init__(
        self,
        client: Client,
        pool: Executor,
        path: Path,
        target: S3Url,
        options: UploadOptions,
        progress: Progress,
        each: int,
    ) -> None:
        self._client = client
        self._pool = pool
        self._path = path
        self._target = target
        self._options = options
        self._progress = progress
        self._each = each
        self._memory = Memory.of(client.meta.endpoint_url, str(target), path, each, repr(options.attributes))
        self._resumed = 0

    def run(self) -> Uploaded:
        """Send what is missing, complete, compare."""
        upload, there = self._begin_or_resume()
        size = self._path.stat().st_size
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            parts = self._send_missing(descriptor, cut(size, self._each), upload, there)
        finally:
            os.close(descriptor)
        crc = file_crc32_text(self._path)
        answer = _complete(self._client, self._target, upload, parts, self._options, crc)
        self._memory.forget()
        told = answer.get("ChecksumCRC32", "")
        if told and "-" not in told and told != crc:
            raise CliError(f"{self._target} does not have the bytes of {self._path}: CRC32 differs", Exit.CORRUPT)
        return Uploaded(size, answer["ETag"].strip('"'), answer.get("VersionId"), self._resumed)

    def _begin_or_resume(self) -> tuple[Unfinished, dict[int, dict[str, Any]]]:
        known = self._memory.recall()
        if known is not None:
            try:
                return known, self._parts_there(known)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
        begun = _begin(self._client, self._target, self._options)
        self._memory.keep(begun)
        return begun, {}

    def _parts_there(self, upload: Unfinished) -> dict[int, dict[str, Any]]:
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._target.bucket, Key=self._target.key, UploadId=upload.upload_id
        )
        return {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}

    def _send_missing(
        self, descriptor: int, parts: list[Part], upload: Unfinished, there: dict[int, dict[str, Any]]
    ) -> list[dict[str, Any]]:
        def send(part: Part) -> dict[str, Any]:
            self._progress.advance(0)
            data = os.pread(descriptor, part.size, part.start)
            found = there.get(part.number)
            if found is not None and _same(found, data):
                self._resumed += part.size
                sent = {"PartNumber": part.number, "ETag": found["ETag"], "ChecksumCRC32": crc32_text(data)}
            else:
                sent = _send(self._client, self._target, upload, part.number, data)
            self._progress.advance(part.size)
            return sent

        futures = [self._pool.submit(send, part) for part in parts]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            wait(futures)  # none of them may use the descriptor once it is closed
            raise


def _same(found: Mapping[str, Any], data: bytes) -> bool:
    """Whether a part on the server has these bytes."""
    if found["Size"] != len(data):
        return False
    if "ChecksumCRC32" in found:
        return bool(found["ChecksumCRC32"] == crc32_text(data))
    return bool(found["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest())
